//! Tests of the segments.
