"""The pinned archive, earlier ones, the licence and the citations. Source: Zenodo record 17652035, version 7."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Record:
    """One version of the dataset on Zenodo; `size` in bytes."""

    title: str
    version: str
    record: str
    concept: str
    archive: str
    size: int
    md5: str
    license_id: str
    license_name: str
    license_url: str

    @property
    def doi(self) -> str:
        return f"10.5281/zenodo.{self.record}"

    @property
    def url(self) -> str:
        return f"https://zenodo.org/records/{self.record}"

    @property
    def top(self) -> str:
        """The one folder at the archive's top."""
        return self.archive.removesuffix(".7z")


@dataclass(frozen=True)
class Citation:
    """A work to cite; `bibtex` is complete."""

    key: str
    about: str
    bibtex: str


RELEASE = Record(
    title="ISLES'24 - A Real-World Longitudinal Multimodal Stroke Dataset",
    version="v7",
    record="17652035",
    concept="16731717",
    archive="train.7z",
    size=99_022_114_670,
    md5="4959a5dd2438d53e3c86d6858484e781",
    license_id="cc-by-nc-sa-4.0",
    license_name="CC BY-NC-SA 4.0",
    license_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
)

EARLIER = (
    replace(RELEASE, version="v3", record="16813698", size=99_014_629_647, md5="36ae28b9a17f7340b8bbef62b595cb57"),
)
"""Other versions of the archive that are known; each is named `train.7z`, too."""

CITATIONS = (
    Citation(
        key="riedel2026isles",
        about="the dataset",
        bibtex="""@article{riedel2026isles,
  title   = {{ISLES'24}: A Real-World Longitudinal Multimodal Stroke Dataset},
  author  = {Riedel, Evamaria Olga and de la Rosa, Ezequiel and Baran, The Anh and Hernandez Petzsche, Moritz
             and Baazaoui, Hakim and Yang, Kaiyuan and Musio, Fabio Antonio and Huang, Houjing and Robben, David
             and Seia, Joaquin Oscar and Wiest, Roland and Reyes, Mauricio and Su, Ruisheng and Zimmer, Claus
             and Boeckh-Behrens, Tobias and Berndt, Maria and Menze, Bjoern and Rueckert, Daniel
             and Wiestler, Benedikt and Wegener, Susanne and Kirschke, Jan Stefan},
  journal = {Radiology: Artificial Intelligence},
  year    = {2026},
  doi     = {10.1148/ryai.250603},
  note    = {arXiv:2408.11142}
}""",
    ),
    Citation(
        key="delarosa2024isles",
        about="the challenge",
        bibtex="""@article{delarosa2024isles,
  title   = {{ISLES'24}: Final Infarct Prediction with Multimodal Imaging and Clinical Data. Where Do We Stand?},
  author  = {de la Rosa, Ezequiel and others},
  journal = {arXiv preprint arXiv:2408.10966},
  year    = {2024}
}""",
    ),
    Citation(
        key="yang2023topcow",
        about="the Circle of Willis masks, if you use `cow_mask`",
        bibtex="""@article{yang2023topcow,
  title   = {Benchmarking the {CoW} with the {TopCoW} Challenge: Topology-Aware Anatomical Segmentation of the
             Circle of Willis for {CTA} and {MRA}},
  author  = {Yang, Kaiyuan and others},
  journal = {arXiv preprint arXiv:2312.17670},
  year    = {2023}
}""",
    ),
)
