//! Merchants: who owns endpoints. A merchant's id is the caller's choice.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A merchant's id: 1 to 64 of `A-Z a-z 0-9 _ -`, chosen by the caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MerchantId(String);

impl MerchantId {
    /// Longest id, in characters.
    pub const LENGTH_MAX: usize = 64;
    /// The merchant of a payment that names none.
    pub const DEMO: &'static str = "demo";

    /// The merchant that owns payments made without naming one.
    pub fn demo() -> Self {
        Self(Self::DEMO.to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MerchantId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if text.is_empty() || text.len() > Self::LENGTH_MAX || !text.chars().all(allowed) {
            return Err(Invalid::new(
                "merchant_id",
                "must be 1 to 64 characters out of A-Z a-z 0-9 _ -",
            ));
        }
        Ok(Self(text))
    }
}

impl From<MerchantId> for String {
    fn from(id: MerchantId) -> Self {
        id.0
    }
}

impl fmt::Display for MerchantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A merchant's name for people: 1 to 200 characters, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MerchantName(String);

impl MerchantName {
    /// Longest name, in characters.
    pub const LENGTH_MAX: usize = 200;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MerchantName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let length = text.chars().count();
        if length == 0 || length > Self::LENGTH_MAX || text.chars().any(char::is_control) {
            return Err(Invalid::new(
                "name",
                "must be 1 to 200 characters without control characters",
            ));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_callers_choice_pass_and_others_are_refused() {
        for good in ["demo", "m_1", "Joes-T-Shirt-Shop", &"x".repeat(64)] {
            assert!(MerchantId::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ü", "a/b", &"x".repeat(65)] {
            assert!(MerchantId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_may_be_in_any_script_but_has_no_control_characters() {
        assert!(MerchantName::try_from("Zoë's ₹ shop".to_owned()).is_ok());
        assert!(MerchantName::try_from("a\nb".to_owned()).is_err());
        assert!(MerchantName::try_from(String::new()).is_err());
    }
}
