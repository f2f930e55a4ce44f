//! Numbers of several rounds.

/// The middle of some numbers, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of at least one number; none of none.
    #[must_use]
    pub fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (least, most) = (*numbers.first()?, *numbers.last()?);
        let half = numbers.len() / 2;
        let median = if numbers.len().is_multiple_of(2) {
            f64::midpoint(numbers[half - 1], numbers[half])
        } else {
            numbers[half]
        };
        Some(Self {
            least,
            median,
            most,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let of = |numbers: &[f64]| Spread::of(numbers.to_vec());
        assert_eq!(of(&[]), None);
        let spread = |least, median, most| {
            Some(Spread {
                least,
                median,
                most,
            })
        };
        assert_eq!(of(&[3.0]), spread(3.0, 3.0, 3.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]), spread(1.0, 2.0, 9.0));
        assert_eq!(of(&[4.0, 9.0, 1.0, 2.0]), spread(1.0, 3.0, 9.0));
    }
}
