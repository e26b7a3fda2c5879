"""Where the release comes from: the archive on Zenodo, downloaded, verified and extracted. No Dagster here."""
