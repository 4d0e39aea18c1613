//! Lists in pages. A token is the id of the last item that was shown, so a page costs the same
//! however far back it is, and items that come meanwhile neither repeat nor hide others.

use std::str::FromStr;

use domain::IdError;

use crate::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};
use crate::refusal::Refusal;

/// Which page of a list is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageRequest {
    /// Whose items.
    pub merchant_id: Option<String>,
    /// How many; none or 0: the default.
    pub size: Option<i64>,
    /// Where the page before ended.
    pub token: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    /// For the next page; empty: this was the last.
    pub next_token: String,
}

impl PageRequest {
    /// How many items, 1 to [`PAGE_SIZE_MAX`].
    pub(super) fn size(&self) -> Result<u16, Refusal> {
        match self.size {
            None | Some(0) => Ok(PAGE_SIZE_DEFAULT),
            Some(size) => u16::try_from(size)
                .ok()
                .filter(|size| (1..=PAGE_SIZE_MAX).contains(size))
                .ok_or_else(|| {
                    Refusal::invalid("page_size", format!("must be 1 to {PAGE_SIZE_MAX}"))
                }),
        }
    }

    /// The last item of the page before, if there was one.
    pub(super) fn last<T: FromStr<Err = IdError>>(&self) -> Result<Option<T>, Refusal> {
        self.token.as_deref().map(str::parse).transpose().map_err(|_| {
            Refusal::invalid("page_token", "must be the next_page_token of the page before")
        })
    }
}

impl<T> Page<T> {
    /// Of `items`, of which one more than `size` was asked for.
    pub(super) fn of(mut items: Vec<T>, size: u16, id: impl Fn(&T) -> String) -> Self {
        let is_more = items.len() > usize::from(size);
        items.truncate(usize::from(size));
        let last = items.last().filter(|_| is_more);
        Self { next_token: last.map(id).unwrap_or_default(), items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_token_exactly_when_there_is_more() {
        let page = |count: u32| Page::of((1..=count).collect(), 2, u32::to_string);
        assert_eq!(page(0), Page { items: vec![], next_token: String::new() });
        assert_eq!(page(2), Page { items: vec![1, 2], next_token: String::new() });
        assert_eq!(page(3), Page { items: vec![1, 2], next_token: "2".to_owned() });
    }

    #[test]
    fn a_size_out_of_range_is_refused_and_none_is_the_default() {
        let size = |size| PageRequest { size, ..PageRequest::default() }.size();
        assert_eq!(size(None).expect("default"), PAGE_SIZE_DEFAULT);
        assert_eq!(size(Some(0)).expect("default"), PAGE_SIZE_DEFAULT);
        assert_eq!(size(Some(200)).expect("largest"), 200);
        for bad in [-1, 201, i64::MAX] {
            assert_eq!(size(Some(bad)).expect_err("refused").field(), Some("page_size"));
        }
    }
}
