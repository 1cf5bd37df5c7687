//! Which segments are worth being merged: a choice, not the work.
//!
//! Every segment costs each search a little, every merge the whole of what it merges. Segments of
//! like size are merged when there are [`FEW`], so that a document is merged again as often as the
//! logarithm of all documents; one of which a quarter is dead is written anew.

use crate::segment::MAX_ARENA;

/// So many segments of like size may stand beside one another, less one.
const FEW: usize = 4;

/// What a choice is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Documents that live.
    pub living: usize,
    /// Documents that do not.
    pub dead: usize,
    /// Octets of the greater arena.
    pub octets: usize,
}

/// The segments to merge into one, by their places; none if all is well.
#[must_use]
pub fn choose(sizes: &[Size]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| sizes[*at].living);
    let (mut group, mut living, mut octets) = (Vec::new(), 0, 0);
    for at in order {
        let size = sizes[at];
        // Twice of what is smaller is still of like size.
        let alike = group.is_empty() || size.living <= 2 * living;
        if !alike || octets + size.octets > MAX_ARENA {
            break;
        }
        group.push(at);
        living += size.living;
        octets += size.octets;
    }
    if group.len() >= FEW {
        return group;
    }
    let worn = |size: &Size| size.dead > 0 && size.dead * 3 >= size.living;
    sizes.iter().position(worn).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{Size, choose};
    use crate::segment::MAX_ARENA;

    const fn size(living: usize, dead: usize) -> Size {
        Size { living, dead, octets: (living + dead) * 80 }
    }

    #[test]
    fn the_choice_is_as_expected() {
        let table: [(&[Size], &[usize]); 8] = [
            (&[], &[]),
            (&[size(10, 0)], &[]),
            (&[size(10, 0), size(10, 0), size(10, 0)], &[]),
            (&[size(10, 0), size(10, 0), size(10, 0), size(10, 0)], &[0, 1, 2, 3]),
            (&[size(1000, 0), size(10, 0), size(10, 0), size(10, 0), size(9, 0)], &[4, 1, 2, 3]),
            (&[size(1000, 0), size(10, 0)], &[]),
            (&[size(1000, 400), size(10, 0)], &[0]),
            (&[size(1000, 0), size(0, 7)], &[1]),
        ];
        for (sizes, expected) in table {
            assert_eq!(choose(sizes), expected, "{sizes:?}");
        }
        let huge = Size { octets: MAX_ARENA / 3, ..size(10, 0) };
        assert_eq!(choose(&[huge; 4]), [0; 0], "an arena has an end");
    }

    #[test]
    fn ten_million_documents_one_by_one_are_few_segments_and_not_too_much_work() {
        let (mut sizes, mut written) = (Vec::new(), 0);
        let mut most = 0;
        for _ in 0..10_000_000 / 4096 {
            sizes.push(size(4096, 0));
            loop {
                let group = choose(&sizes);
                if group.is_empty() {
                    break;
                }
                let living = group.iter().map(|at| sizes[*at].living).sum();
                let mut at = 0;
                sizes.retain(|_| {
                    at += 1;
                    !group.contains(&(at - 1))
                });
                written += living;
                sizes.push(size(living, 0));
            }
            most = most.max(sizes.len());
        }
        assert!(most <= 20, "{most} segments");
        assert!(written < 10 * 10_000_000, "{} times each", written / 10_000_000);
    }
}
