"""The clinical variables of all subjects as a pandas table, and which are outcomes; no volume travels.

python examples/clinical_table.py --known admission
"""

import argparse

from isles_assets import clinical_frame

REPO = "hugging-science/isles24-stroke"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    parser.add_argument("--known", help="admission: only what may serve to predict an outcome; outcome: only the rest")
    given = parser.parse_args()
    table = clinical_frame(given.repo, known=given.known)
    print(f"{len(table)} subjects, {table.shape[1]} variables")
    for column, values in table.items():
        unit, known = (table.attrs[name][column] for name in ("unit", "known"))
        print(f"{column:28} {known:9} {unit:5} {values.isna().sum():4} missing")


if __name__ == "__main__":
    main()
