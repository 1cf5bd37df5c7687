//! The stores as a whole: random operations against plain maps, killed processes, power cuts.
