//! How files are written, each way under a number that stands in the log for ever.
//!
//! Invariants: a number never changes its meaning and is never used again; equal contents give
//! equal octets for one recipe. Golden files of every recipe stand in `tests/fixtures`. Both
//! recipes are those of the crate parquet 60.1.0 with zstd 1.5.7; a version that gives other
//! octets is another recipe.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::DayKey;
use crate::error::{Error, Result};

/// The recipe of day files: lz4_raw, row groups of 64 meters, pages of one meter's day.
pub const RECIPE_DAY: u16 = 1;
/// The recipe of month files: zstd 3, row groups of 64 meters, pages of one meter's month with
/// their least and greatest value.
pub const RECIPE_MONTH: u16 = 2;
/// Rows of a page of irregular values.
const SPARSE_PAGE: usize = 4096;
/// Columns that lead a row; one page a row group keeps them near to nothing.
const LEADING: [&str; 5] = ["ordinal", "end_time", "flag", "beside", "register"];

/// One way of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Its number in the log, in manifests and in files.
    pub number: u16,
    /// Name of the schema's root.
    pub root: &'static str,
    /// Lines of a row group of irregular values.
    pub sparse_group: usize,
    zstd: Option<i32>,
    page_statistics: bool,
}

const DAY: Recipe = Recipe {
    number: RECIPE_DAY,
    root: "day",
    sparse_group: usize::MAX,
    zstd: None,
    page_statistics: false,
};

const MONTH: Recipe = Recipe {
    number: RECIPE_MONTH,
    root: "month",
    sparse_group: 65_536,
    zstd: Some(3),
    page_statistics: true,
};

impl Recipe {
    /// The recipe of a day file.
    ///
    /// # Errors
    /// `recipe_unknown`.
    pub fn of_day(number: u16) -> Result<Self> {
        if number == RECIPE_DAY { Ok(DAY) } else { Err(unknown(number)) }
    }

    /// The recipe of a month file.
    ///
    /// # Errors
    /// `recipe_unknown`.
    pub fn of_month(number: u16) -> Result<Self> {
        if number == RECIPE_MONTH { Ok(MONTH) } else { Err(unknown(number)) }
    }

    /// The encoder's settings for a file of `page_rows` rows a meter (0: irregular values), in
    /// row groups of `whole_rows`.
    pub(super) fn properties(
        &self,
        key: DayKey,
        page_rows: usize,
        whole_rows: usize,
    ) -> WriterProperties {
        let (page_rows, whole_rows) =
            if page_rows == 0 { (SPARSE_PAGE, SPARSE_PAGE) } else { (page_rows, whole_rows) };
        let level = self.zstd.and_then(|level| ZstdLevel::try_new(level).ok());
        let compression = level.map_or(Compression::LZ4_RAW, Compression::ZSTD);
        let statistics =
            if self.page_statistics { EnabledStatistics::Page } else { EnabledStatistics::Chunk };
        let mut builder = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_created_by(format!("holdfast recipe {}", self.number))
            .set_compression(compression)
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BINARY_PACKED)
            .set_statistics_enabled(statistics)
            .set_data_page_row_count_limit(page_rows)
            .set_write_batch_size(page_rows)
            .set_key_value_metadata(Some(self.facts(key)));
        for name in LEADING {
            let path = ColumnPath::new(vec![name.to_owned()]);
            builder = builder
                .set_column_data_page_row_count_limit(path.clone(), whole_rows)
                .set_column_dictionary_enabled(path, name != "beside" && name != "ordinal");
        }
        let beside = ColumnPath::new(vec!["beside".to_owned()]);
        let register = ColumnPath::new(vec!["register".to_owned()]);
        builder
            .set_column_encoding(beside, Encoding::PLAIN)
            .set_column_encoding(register, Encoding::PLAIN)
            .build()
    }

    fn facts(&self, key: DayKey) -> Vec<KeyValue> {
        let fact =
            |name: &str, value: i64| KeyValue::new(format!("holdfast.{name}"), value.to_string());
        vec![
            fact("interval_minutes", i64::from(key.interval_minutes)),
            fact("shard", i64::from(key.shard)),
            fact("day", i64::from(key.day)),
            fact("recipe", i64::from(self.number)),
        ]
    }
}

fn unknown(number: u16) -> Error {
    Error::misuse("recipe_unknown", format!("recipe {number}"))
}
