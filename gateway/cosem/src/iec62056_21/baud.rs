//! Modes and baud rates by the fifth character of an identification (IEC 62056-21 clauses
//! 6.3.14.13 and 6.4): the character alone tells mode A, B or C; D is told by its never being
//! asked, E by an escape sequence that follows.

/// Rates of modes C and E, from the character 0 on, baud.
const RATES_C: [u32; 7] = [300, 600, 1200, 2400, 4800, 9600, 19200];

/// Rates of mode B, from the character A on, baud.
const RATES_B: [u32; 6] = [600, 1200, 2400, 4800, 9600, 19200];

/// The rate of mode D, baud.
pub const RATE_D: u32 = 2400;

/// How a meter talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Data at the rate of the sign-on, without being asked further.
    A,
    /// Data at this rate, without being asked further.
    B(u32),
    /// This rate and the kind of service are negotiated.
    C(u32),
}

impl Mode {
    /// From the character of an identification.
    #[must_use]
    pub fn from_character(character: u8) -> Self {
        let rate = |rates: &[u32], first: u8| {
            rates.get(usize::from(character.checked_sub(first)?)).copied()
        };
        match (rate(&RATES_C, b'0'), rate(&RATES_B, b'A')) {
            (Some(baud), _) => Self::C(baud),
            (None, Some(baud)) => Self::B(baud),
            (None, None) => Self::A,
        }
    }

    /// The rate of the data.
    #[must_use]
    pub const fn baud(self) -> u32 {
        match self {
            Self::A => super::SIGN_ON_BAUD,
            Self::B(baud) | Self::C(baud) => baud,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn the_table_of_the_standard() {
        let check = |characters: &[u8], expect: &dyn Fn(usize) -> Mode| {
            for (index, character) in characters.iter().enumerate() {
                assert_eq!(Mode::from_character(*character), expect(index), "{character}");
            }
        };
        let rates = [300, 600, 1200, 2400, 4800, 9600, 19200];
        check(b"0123456", &|index| Mode::C(rates[index]));
        check(b"ABCDEF", &|index| Mode::B(rates[index + 1]));
        check(b"789GHI \\z@:", &|_| Mode::A);
        assert_eq!(Mode::A.baud(), 300);
        assert_eq!(Mode::C(9600).baud(), 9600);
    }
}
