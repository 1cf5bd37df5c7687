//! What a `Cargo.toml` says of its dependencies. Reads the few shapes that our manifests have.

use crate::{CRATES, root};

/// A crate's dependencies by section.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// `[dependencies]`.
    pub dependencies: Vec<String>,
    /// `[dev-dependencies]`.
    pub dev_dependencies: Vec<String>,
    /// Lines that give a version of their own: versions stand in the root alone.
    pub versions: Vec<String>,
}

impl Manifest {
    /// The manifest of a crate's folder; empty when there is none.
    pub fn of(folder: &str) -> Manifest {
        let path = root().join(folder).join("Cargo.toml");
        Manifest::read(&std::fs::read_to_string(path).unwrap_or_default())
    }

    fn read(text: &str) -> Manifest {
        let mut manifest = Manifest::default();
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#'))
            else {
                continue;
            };
            let package = name.split('.').next().unwrap_or_default().trim().to_owned();
            match section {
                "[dependencies]" => manifest.dependencies.push(package),
                "[dev-dependencies]" => manifest.dev_dependencies.push(package),
                _ => continue,
            }
            if !name.contains(".workspace") && !value.contains("workspace = true") {
                manifest.versions.push(line.to_owned());
            }
        }
        manifest
    }

    /// Those of the dependencies that are rooms of our house.
    pub fn rooms(dependencies: &[String]) -> Vec<&'static str> {
        let packages = CRATES.iter().map(|(_, package)| *package);
        packages.filter(|package| dependencies.iter().any(|name| name == package)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings_and_finds_versions() {
        let manifest = Manifest::read(
            "[dependencies]\ncosem.workspace = true\n# serde = \"1\"\n\
             aes = { workspace = true, features = [\"x\"] }\nrand = \"0.9\"\n\
             [dev-dependencies]\nproptest.workspace = true\n[lints]\nworkspace = true\n",
        );
        assert_eq!(manifest.dependencies, ["cosem", "aes", "rand"]);
        assert_eq!(manifest.dev_dependencies, ["proptest"]);
        assert_eq!(manifest.versions, ["rand = \"0.9\""]);
        assert_eq!(Manifest::rooms(&manifest.dependencies), ["cosem"]);
    }
}
