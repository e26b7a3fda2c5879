"""The report as Markdown, from the numbers alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import (
    building,
    decoding,
    extracting,
    graph,
    growth,
    previewing,
    publishing,
    reading,
    release_scale,
    rerun,
    writing,
)
from benchmarks.baselines import CAT, GZIP, ISAL
from benchmarks.measure import Comparison, Spread
from benchmarks.products import DECODED
from benchmarks.results import Results
from isles_assets.lib.markdown import markdown_table
from isles_assets.lib.progress import readable_bytes

BUILD_AT_MOST = 1.6
MEMORY_AT_MOST = 20e6
DECODE_AT_MOST = 0.5
PREVIEWS_AT_MOST = 30
PREVIEW_MEMORY_AT_MOST = 1.5e9
GRAPH_AT_MOST_MORE = 25
RERUN_AT_MOST = 0.1
PUBLISH_AT_MOST = 1.0
SENDING_MEMORY_AT_MOST = 500e6
READ_AT_MOST = 1.1
SCALE_MEMORY_AT_MOST = 2.5e9
SCALE_DISK_AT_MOST = 16e9
HISTORY_AT_MOST = 10e6

Comparisons = Sequence[Comparison]


@dataclass(frozen=True)
class Promise:
    """A line of the table of promises: what was measured of it, in words, and whether that is within the limit."""

    what: str
    limit: str
    measured: str
    met: bool


def render(results: Results) -> str:
    """The page."""
    areas = [(_AREAS[name], results.areas[name]) for name in _AREAS if name in results.areas]
    promises = [promise for area, comparisons in areas for promise in area.promises(comparisons)]
    parts = [
        "# Benchmarks",
        *(["**Tried out on tiny inputs: these numbers say nothing about the promises.**"] if results.tiny else []),
        """`make bench` measures what is promised on speed and memory and writes this page from the numbers in
        `benchmarks.json`. Each promise is a ratio to a plain baseline taken in the same run; seconds are of this
        machine.""",
        "## Promises",
        markdown_table(
            ("promise", "limit", "measured", ""),
            [(p.what, p.limit, p.measured, "met" if p.met else "**NOT met**") for p in promises],
        ),
        "## How it was measured",
        *_method(results),
    ]
    for area, comparisons in areas:
        parts += [f"## {area.title}", *area.section(comparisons)]
    return "\n\n".join(map(_flowed, parts)) + "\n"


def _flowed(part: str) -> str:
    """A paragraph on one line; tables as they are."""
    return part if part.startswith("|") else " ".join(part.split())


def _method(results: Results) -> Iterator[str]:
    rounds = sorted({comparison.rounds for comparisons in results.areas.values() for comparison in comparisons})
    number = " to ".join(map(str, dict.fromkeys((rounds[0], rounds[-1]))))
    yield f"""Contenders and baseline are measured in rounds ({number}), each once a round in an order that rotates. A
        ratio is taken within a round; stated is the median of the rounds, with the least and the greatest in brackets.
        What is still to be written to the disk is written before each measurement (`sync`)."""
    yield """Functions are measured in a new interpreter each, whose start and imports are not in the time; commands
        (`dagster`, `cat`, `gzip`) from start to end. Memory is the kernel's `VmHWM` less what was resident when the
        function was called, the imports done. It counts pages of mapped files; the anonymous part, sampled every 20 ms,
        does not."""
    yield """All trees are synthetic. Subjects at release scale have grids, data types and compressed sizes like the
        release's; `sub-stroke0040` has its largest volume, a perfusion series of 1.7 GB. Their files are read once
        before, so that all contenders alike find them in the page cache: no ratio contains the speed of reading a disk.
        Those of building contain the speed of writing one, because a shard is synced before it gets its name."""
    yield markdown_table(("machine", ""), results.machine.items())
    yield markdown_table(("version of", ""), results.versions.items())


def _extracting(comparisons: Comparisons) -> Iterator[str]:
    if not comparisons:
        yield "Not measured: there was no `7zz` to pack an archive."
        return
    size = readable_bytes(comparisons[0].size)
    left_out = ", ".join(f"`{column}`" for column in extracting.LEFT_OUT)
    yield f"""The volumes of a subject at release scale but {left_out}, {size}, packed by 7-Zip as it does by default:
        by LZMA2, a dictionary of 32 MB, and blocks of 8 GB, which would be {extracting.BLOCKS} for the release. So the
        files are once in about as many blocks, and once in one, which a single thread has to decompress.
        `isles_assets.source.archive.extract` compares every size and CRC-32 and syncs what it has written; the others
        do not sync. LZMA2 makes little of volumes that are compressed already, and takes its time all the same."""
    if absent := [
        name for name in extracting.TOOLS if any(name not in comparison.samples for comparison in comparisons)
    ]:
        yield f"Not installed where this was measured, and left out: {', '.join(absent)}."
    yield markdown_table(
        ("method", "way", "time", "MB/s", "CPU time", "peak memory"),
        [
            (
                comparison.of,
                name,
                _seconds(comparison.seconds(name)),
                f"{comparison.size / 1e6 / comparison.seconds(name).median:.0f}",
                _seconds(comparison.cpu(name)),
                None if name in extracting.TOOLS else readable_bytes(comparison.peak(name).median),
            )
            for comparison in comparisons
            for name in comparison.samples
        ],
    )


def _building(comparisons: Comparisons) -> Iterator[str]:
    ours = (building.PACKED, building.DECODED)
    yield f"""`build_shard` is `isles_assets.products.building.build_subject` of a shard, which is all of a
        partition's work in one process: every source is read once, digested, decompressed, looked at and written; the
        finished file is synced and read back for its SHA-256 and the CRC-32 of every value. So each byte passes two
        SHA-256. The baseline is {ISAL}: without it no volume is known to be sound. The parts are measured one by one;
        some of them overlap in `build_shard`, as the disk writes while the next bytes are read."""
    yield "![Building a shard](images/benchmark-building.png)"
    yield markdown_table(
        ("subject", "volumes", "way", "time", "ratio to ISA-L", "peak memory"),
        [
            (
                comparison.of,
                readable_bytes(comparison.size),
                name,
                _seconds(comparison.seconds(name)),
                _times(comparison.ratio(name, ISAL)),
                readable_bytes(comparison.peak(name).median) if name in ours else None,
            )
            for comparison in comparisons
            for name in comparison.samples
        ],
    )


def _of_building(comparisons: Comparisons) -> Iterator[Promise]:
    ratios = {comparison.of: comparison.ratio(building.DECODED, ISAL) for comparison in comparisons}
    yield Promise(
        f"building and fully verifying a shard against {ISAL}",
        f"<= {BUILD_AT_MOST} x",
        ", ".join(f"{subject} {_times(ratio)}" for subject, ratio in ratios.items()),
        all(ratio.median <= BUILD_AT_MOST for ratio in ratios.values()),
    )
    ways = (building.PACKED, building.DECODED)
    peaks = {comparison.of: max(comparison.peak(way).high for way in ways) for comparison in comparisons}
    yield Promise(
        "peak memory of that, decoding or not, above the idle interpreter with imports",
        f"<= {readable_bytes(MEMORY_AT_MOST)}",
        "at most " + ", ".join(f"{readable_bytes(peak)} ({subject})" for subject, peak in peaks.items()),
        max(peaks.values()) <= MEMORY_AT_MOST,
    )


def _writing(comparisons: Comparisons) -> Iterator[str]:
    (comparison,) = comparisons
    yield f"""All 18 volumes of {comparison.of}, {readable_bytes(comparison.size)}, and the clinical values as one row
        of one Parquet file. Nothing is synced. `write_row` digests what it writes, the others do not. pyarrow is tuned
        by giving it mapped files as values, no compression, no dictionary, and statistics of scalars only; its mapped
        pages are in the peak and not in the anonymous part. What `datasets` does is a dataset of paths,
        `embed_table_storage` and `to_parquet`, as in `push_to_hub`."""
    yield "![Ways to write one row](images/benchmark-writing.png)"
    yield markdown_table(
        ("way", "time", "ratio to the copy", "ratio to `cat`", "CPU time", "peak memory", "of all bytes", "anonymous"),
        [
            (
                name,
                _seconds(comparison.seconds(name)),
                _times(comparison.ratio(name, writing.COPIED)),
                _times(comparison.ratio(name, CAT)),
                _seconds(comparison.cpu(name)),
                *(() if name == CAT else _memory_of(comparison, name)),
            )
            for name in comparison.samples
        ],
    )


def _memory_of(comparison: Comparison, name: str) -> Iterator[str]:
    peak = comparison.peak(name).median
    yield readable_bytes(peak)
    yield f"{peak / comparison.size:.2f} x"
    yield readable_bytes(comparison.anonymous(name).median)


def _decoding(comparisons: Comparisons) -> Iterator[str]:
    (comparison,) = comparisons
    yield f"""`isles_assets.reading.nifti.inspect` decompresses a volume in full and checks gzip's CRC and length, the
        header, the data's length and the voxels. Here it goes through all volumes of {comparison.of},
        {readable_bytes(comparison.size)}, one after the other, on one core like `gzip`."""
    yield markdown_table(
        ("way", "time", "ratio to `gzip -t`"),
        [
            (name, _seconds(comparison.seconds(name)), _times(comparison.ratio(name, GZIP)))
            for name in comparison.samples
        ],
    )


def _of_decoding(comparisons: Comparisons) -> Iterator[Promise]:
    (comparison,) = comparisons
    ratio = comparison.ratio(decoding.DECODED, GZIP)
    yield Promise(
        "decode check of a subject against single-threaded `gzip -t` of the same files",
        f"<= {DECODE_AT_MOST} x",
        f"{_times(ratio)} ({comparison.of})",
        ratio.median <= DECODE_AT_MOST,
    )


def _previewing(comparisons: Comparisons) -> Iterator[str]:
    whole, *single = comparisons
    yield f"""`build_preview`, which is `build_subject` of a preview, decodes and digests {len(DECODED)} volumes once
        each, keeps the slices that are shown, draws, and writes the subject's file. The volumes are those on the NCCT
        grid that are no series: {readable_bytes(whole.size)} of the sample. It is made in processes that are started
        for it, and their start and imports are in the time:"""
    yield markdown_table(
        ("subjects", "processes", "time"),
        [(whole.of, name, _seconds(whole.seconds(name))) for name in whole.samples],
    )
    yield """One subject at release scale, in one process:"""
    yield markdown_table(
        ("subject", "these volumes", "way", "time", "peak memory"),
        [
            (
                comparison.of,
                readable_bytes(comparison.size),
                name,
                _seconds(comparison.seconds(name)),
                readable_bytes(comparison.peak(name).median) if name == previewing.BUILT else None,
            )
            for comparison in single
            for name in comparison.samples
        ],
    )


def _of_previewing(comparisons: Comparisons) -> Iterator[Promise]:
    whole, *single = comparisons
    time = whole.seconds(previewing.TWO)
    yield Promise(
        f"previews of the {whole.of} with {previewing.TWO}, their start included",
        f"<= {PREVIEWS_AT_MOST} s",
        _seconds(time),
        time.median <= PREVIEWS_AT_MOST,
    )
    peaks = {comparison.of: comparison.peak(previewing.BUILT).high for comparison in single}
    yield Promise(
        "peak memory of making a preview, above the idle interpreter with imports",
        f"<= {readable_bytes(PREVIEW_MEMORY_AT_MOST)}",
        "at most " + ", ".join(f"{readable_bytes(peak)} ({subject})" for subject, peak in peaks.items()),
        max(peaks.values()) <= PREVIEW_MEMORY_AT_MOST,
    )


def _graph(comparisons: Comparisons) -> Iterator[str]:
    (comparison,) = comparisons
    yield f"""`dagster job execute -j build` on the sample, {comparison.of} and
        {readable_bytes(comparison.size)}: inventory, tables, all shards, the local target, and all checks. The sample
        is there, the data folder and the instance are empty. An empty run is the same command for a job of one asset
        that does nothing. All are times of the whole command, the start of Python and the imports included."""
    yield markdown_table(
        ("run", "time", "more than an empty run"),
        [
            (name, _seconds(comparison.seconds(name)), _seconds(comparison.more(name, graph.EMPTY)))
            for name in comparison.samples
        ],
    )


def _of_graph(comparisons: Comparisons) -> Iterator[Promise]:
    (comparison,) = comparisons
    more = comparison.more(graph.TWO, graph.EMPTY)
    yield Promise(
        "whole graph on the sample of 149 subjects, one run, against one empty Dagster run",
        f"<= {GRAPH_AT_MOST_MORE} s more on 2 cores",
        f"{_seconds(more)} more",
        more.median <= GRAPH_AT_MOST_MORE,
    )


def _release_scale(comparisons: Comparisons) -> Iterator[str]:
    (comparison,) = comparisons
    yield f"""{comparison.of}, {readable_bytes(comparison.size)} by hard links to three subjects. The job `build`
        publishes them with `free_disk` to the Hub of the tests, by Xet, once. The Hub runs on the same cores. Memory is
        that of all processes of the run together; shared pages count once (the kernel's `Pss`, every quarter of a
        second). The disk is that of the data folder. Equal volumes are sent once by Xet, so what travels is less than
        of the release. The plain work is measured on the three subjects, and multiplied."""
    runs = [name for name in comparison.samples if name != release_scale.PLAIN]
    yield markdown_table(
        ("run", "time", "ratio to the plain work", "memory", "processes", "open files", "disk", "shards built"),
        [
            (release_scale.PLAIN, _seconds(comparison.seconds(release_scale.PLAIN)), "1.00 x"),
            *(
                (
                    name,
                    f"{comparison.seconds(name).median:.0f} s",
                    f"{comparison.ratio(name, release_scale.PLAIN).median:.2f} x",
                    readable_bytes(comparison.count(name, release_scale.MEMORY).high),
                    *(f"{comparison.count(name, what).high:.0f}" for what in _SEEN_AT_RELEASE_SCALE),
                    readable_bytes(comparison.count(name, release_scale.DISK).high),
                    f"{comparison.count(name, release_scale.BUILT).high:.0f}",
                )
                for name in runs
            ),
        ],
    )
    yield markdown_table(
        ("run", "commits", "moves of `main`", "requests", "bytes sent", "run database", *release_scale.STAGES),
        [
            (
                name,
                *(f"{comparison.count(name, what).high:.0f}" for what in _HUB_AT_RELEASE_SCALE),
                readable_bytes(comparison.count(name, release_scale.SENT).high),
                readable_bytes(comparison.count(name, release_scale.HISTORY).high),
                *(f"{comparison.count(name, stage).high:.0f} s" for stage in release_scale.STAGES),
            )
            for name in runs
        ],
    )
    built = sum(
        comparison.count(name, release_scale.BUILT).high for name in (release_scale.KILLED, release_scale.RESUMED)
    )
    whole = comparison.count(release_scale.WHOLE, release_scale.BUILT).high
    yield f"""After the kill, {built - whole:.0f} of {whole:.0f} shards were built again, and nothing that was complete.
        Stages are the seconds of Dagster's steps, added up; a step that was killed has none."""


_SEEN_AT_RELEASE_SCALE = (release_scale.PROCESSES, release_scale.FILES)
_HUB_AT_RELEASE_SCALE = (release_scale.COMMITS, release_scale.MOVES, release_scale.REQUESTS)


def _of_release_scale(comparisons: Comparisons) -> Iterator[Promise]:
    (comparison,) = comparisons
    for what, measured, limit in (
        ("memory of all processes of the run together", release_scale.MEMORY, SCALE_MEMORY_AT_MOST),
        ("disk of the data folder", release_scale.DISK, SCALE_DISK_AT_MOST),
        ("run database", release_scale.HISTORY, HISTORY_AT_MOST),
    ):
        value = comparison.count(release_scale.WHOLE, measured).high
        yield Promise(
            f"whole graph at release scale, `free_disk`, to the loopback Hub: {what}",
            f"<= {readable_bytes(limit)}",
            f"{readable_bytes(value)} ({readable_bytes(comparison.size)})",
            value <= limit,
        )


def _rerun(comparisons: Comparisons) -> Iterator[str]:
    (comparison,) = comparisons
    yield f"""The job `build` on a tree of {comparison.of}, {readable_bytes(comparison.size)}, with as many workers as
        cores. What was read is what the kernel says: each file's access time is set to 1970 before the run, and a file
        that has another one after it counts as read in full, whichever process read however little of it. That the
        first run is seen to read every volume shows that this sees them. The other files are the clinical workbooks,
        which are read again so that no change in them goes unseen."""
    yield markdown_table(
        ("run", "time", "ratio to the first", "volumes read", "their size", "other files read"),
        [
            (
                name,
                _seconds(comparison.seconds(name)),
                _times(comparison.ratio(name, rerun.FIRST)),
                *(() if name == graph.EMPTY else _reads_of(comparison, name)),
            )
            for name in comparison.samples
        ],
    )
    first, again = (comparison.more(name, graph.EMPTY).median for name in (rerun.FIRST, rerun.AGAIN))
    yield f"""Less what an empty Dagster run takes, running again takes {again / first:.2f} x the first run. It goes to
        Dagster's events of 149 partitions and to the tables and checks, and so hardly grows with the volumes: the
        more subjects are at release scale, the smaller the ratio."""


def _reads_of(comparison: Comparison, name: str) -> Iterator[str]:
    yield f"{comparison.count(name, rerun.VOLUMES_READ).high:.0f}"
    yield readable_bytes(comparison.count(name, rerun.VOLUME_BYTES_READ).high)
    yield readable_bytes(comparison.count(name, rerun.OTHER_BYTES_READ).high)


def _of_rerun(comparisons: Comparisons) -> Iterator[Promise]:
    (comparison,) = comparisons
    ratio = comparison.ratio(rerun.AGAIN, rerun.FIRST)
    yield Promise(
        "re-run with nothing changed",
        f"<= {RERUN_AT_MOST} x the first",
        f"{_times(ratio)} ({comparison.of})",
        ratio.median <= RERUN_AT_MOST,
    )
    seen = comparison.count(rerun.FIRST, rerun.VOLUMES_READ).low == comparison.count(rerun.FIRST, rerun.VOLUMES).high
    read = comparison.count(rerun.AGAIN, rerun.VOLUME_BYTES_READ).high
    yield Promise(
        "source bytes read again by it",
        "0 B of volumes",
        readable_bytes(read) if seen else "not measured: this file system keeps no access times",
        seen and not read,
    )


def _growth(comparisons: Comparisons) -> Iterator[str]:
    (comparison,) = comparisons
    yield f"""`dagster asset materialize --select subject_shard --partition-range A...B` on the sample, in one run:
        shards that have to be built, and shards that are up to date. An empty run takes
        {_seconds(comparison.seconds(graph.EMPTY))}."""
    yield "![Time over the number of subjects](images/benchmark-growth.png)"
    yield markdown_table(
        ("subjects", "building", "up to date"),
        [
            (number, *(_seconds(comparison.seconds(way(number))) for way in (growth.built, growth.up_to_date)))
            for number in growth.NUMBERS
        ],
    )


def _publishing(comparisons: Comparisons) -> Iterator[str]:
    yield """To the Hub of the tests, on loopback, a new one each time, with or without Xet storage. `publish` uploads
        in groups, digests what it sends, commits, compares every published file with the local one, and tags;
        `upload_folder` takes the folder of the local target, hashes, uploads and commits. Both make the repo."""
    yield markdown_table(
        ("what", "size", "way", "time", "ratio to `upload_folder`", "requests"),
        [
            (
                comparison.of,
                readable_bytes(comparison.size),
                name,
                _seconds(comparison.seconds(name)),
                _times(comparison.ratio(name, publishing.UPLOADED)),
                f"{comparison.count(name, publishing.REQUESTS).median:.0f}",
            )
            for comparison in comparisons
            if publishing.UPLOADED in comparison.samples
            for name in comparison.samples
        ],
    )
    for comparison in comparisons:
        if publishing.BY_XET in comparison.samples:
            yield f"""Memory of the process that sends. Staged as by `free_disk`: as much as a group of subjects of the
                release, {comparison.of} of {readable_bytes(comparison.size)} of random bytes, to a new Hub each time,
                with or without Xet storage; committed, and one file read back."""
            yield _sending(comparison)


def _sending(comparison: Comparison) -> str:
    return markdown_table(
        ("way", "time", "ratio to `hf_xet` by default", "peak memory"),
        [
            (
                name,
                _seconds(comparison.seconds(name)),
                _times(comparison.ratio(name, publishing.BY_XET_UNLIMITED)),
                _bytes(comparison.peak(name)),
            )
            for name in comparison.samples
        ],
    )


def _bytes(memory: Spread) -> str:
    return f"{readable_bytes(memory.median)} ({readable_bytes(memory.low)} to {readable_bytes(memory.high)})"


def _of_publishing(comparisons: Comparisons) -> Iterator[Promise]:
    for comparison in comparisons:
        if publishing.BY_XET in comparison.samples:
            peak = comparison.peak(publishing.BY_XET)
            yield Promise(
                f"peak memory of sending {comparison.of} of {readable_bytes(comparison.size)} by Xet, above the idle "
                "interpreter with imports",
                f"<= {readable_bytes(SENDING_MEMORY_AT_MOST)}",
                f"at most {readable_bytes(peak.high)}",
                peak.high <= SENDING_MEMORY_AT_MOST,
            )
            continue
        ratio = comparison.ratio(publishing.PUBLISHED, publishing.UPLOADED)
        yield Promise(
            f"publish over loopback against `HfApi.upload_folder` of the same folder: {comparison.of}",
            f"<= {PUBLISH_AT_MOST} x",
            _times(ratio),
            ratio.median <= PUBLISH_AT_MOST,
        )


def _reading(comparisons: Comparisons) -> Iterator[str]:
    yield """Bytes that left the loopback Hub, time, and memory, until what was asked for was read, the reader's cache
        being empty. On loopback a request takes hardly any time. What else is sent is the card and what the Hub's API
        says of the repo. Volumes are at release scale; the table is that of the sample."""
    for comparison in comparisons:
        yield f"{comparison.of}, {readable_bytes(comparison.size)} of the file:"
        yield markdown_table(
            ("way", "of the file", "ratio to what was asked for", "else", "requests", "time", "peak memory"),
            [
                (
                    name,
                    readable_bytes(comparison.count(name, reading.FILE_BYTES).median),
                    f"{comparison.count(name, reading.FILE_BYTES).median / comparison.size:.3f} x",
                    readable_bytes(comparison.count(name, reading.OTHER_BYTES).median),
                    f"{comparison.count(name, reading.REQUESTS).median:.0f}",
                    _seconds(comparison.seconds(name)),
                    readable_bytes(comparison.peak(name).median),
                )
                for name in comparison.samples
            ],
        )


def _of_reading(comparisons: Comparisons) -> Iterator[Promise]:
    comparison = comparisons[0]
    ratio = comparison.count(reading.BY_EXAMPLE, reading.FILE_BYTES).high / comparison.size
    yield Promise(
        f"reading only {comparison.of} by streaming",
        f"<= {READ_AT_MOST} x the bytes of these columns on the wire",
        f"{ratio:.3f} x",
        ratio <= READ_AT_MOST,
    )


def _none(_: Comparisons) -> Iterator[Promise]:
    yield from ()


@dataclass(frozen=True)
class _Area:
    """A section of the page, by paragraphs, and the promises that its numbers decide."""

    title: str
    section: Callable[[Comparisons], Iterator[str]]
    promises: Callable[[Comparisons], Iterator[Promise]] = _none


_AREAS = {
    "extracting": _Area("Extracting the archive", _extracting),
    "building": _Area("Building a shard", _building, _of_building),
    "writing": _Area("Ways to write a shard", _writing),
    "decoding": _Area("Decoding", _decoding, _of_decoding),
    "previewing": _Area("Previews", _previewing, _of_previewing),
    "graph": _Area("The graph", _graph, _of_graph),
    "rerun": _Area("Running again", _rerun, _of_rerun),
    "release_scale": _Area("At release scale", _release_scale, _of_release_scale),
    "growth": _Area("Growth", _growth),
    "publishing": _Area("Publishing", _publishing, _of_publishing),
    "reading": _Area("Reading", _reading, _of_reading),
}


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.2f} x ({ratio.low:.2f} to {ratio.high:.2f})"


def _seconds(time: Spread) -> str:
    digits = 1 if time.median >= 10 else 2
    return f"{time.median:.{digits}f} s ({time.low:.{digits}f} to {time.high:.{digits}f})"
