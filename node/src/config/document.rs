//! The page `docs/reference/configuration.md`, made from the table of keys.

use super::keys::{SECTIONS, all, describe};

/// `docs/reference/configuration.md`, whole.
pub fn document() -> String {
    let mut out = String::from(HEAD);
    for (section, about) in SECTIONS {
        // A section within a section is a list of tables.
        let brackets = if section.contains('.') { ("[[", "]]") } else { ("[", "]") };
        out.push_str(&format!("\n## `{}{section}{}`\n\n{about}\n\n", brackets.0, brackets.1));
        out.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in all().filter(|k| k.section == *section) {
            let default = key.default.map_or("must be given".to_string(), |d| format!("`{d}`"));
            out.push_str(&format!(
                "| `{}` | {} | {default} | {} |\n",
                key.name,
                describe(key.kind),
                key.about
            ));
        }
    }
    out
}

const HEAD: &str = "# Configuration of a node

One TOML file, written by `holdfast init`, read by `holdfast run --config F`.
`holdfast check-config F` lists every fault at once and exits with 64. A key that is not listed
here is refused by name. Relative paths start at the folder of the file.

The environment goes over the file: `HOLDFAST_SECTION__KEY`, for example
`HOLDFAST_HTTP__LISTEN=0.0.0.0:8080` (`[[...]]` tables can only stand in the file). Secrets are
files, never values.

This page is written from the table of keys in the program
(`HOLDFAST_WRITE_DOCS=1 cargo nextest run -p node`).
";
