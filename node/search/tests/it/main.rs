//! The index as a caller sees it: beside an oracle that compares everything, and in stories.

#[cfg(test)]
mod model;
#[cfg(test)]
mod stories;
