//! How far the slot may be confirmed: a pure account of transactions and their rows.
//!
//! Transactions come in the order of the WAL, rows are settled in any order; a position goes out.
//! What must never happen: a position at or behind the commit of a transaction of which one row is
//! neither on Kafka nor parked. PostgreSQL forgets what is confirmed.

use std::collections::VecDeque;

use pgwire_replication::Lsn;
use time::OffsetDateTime;

/// What may be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Confirmed {
    /// The position.
    pub(crate) lsn: Lsn,
    /// When the last transaction that had rows was committed.
    pub(crate) committed_at: Option<OffsetDateTime>,
}

#[derive(Debug, Default)]
struct Transaction {
    rows: u64,
    settled: u64,
    committed: Option<(Lsn, OffsetDateTime)>,
}

/// The account of one stream.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    // The number of the first of `transactions`; numbers count up from 0.
    first: u64,
    transactions: VecDeque<Transaction>,
    confirmed: Confirmed,
}

impl Progress {
    /// A transaction begins; its number.
    pub(crate) fn begin(&mut self) -> u64 {
        self.transactions.push_back(Transaction::default());
        self.first + self.transactions.len() as u64 - 1
    }

    /// The last transaction has another row.
    pub(crate) fn row(&mut self) {
        if let Some(last) = self.transactions.back_mut() {
            last.rows += 1;
        }
    }

    /// The last transaction is complete, and its commit ends at `end`.
    pub(crate) fn commit(&mut self, end: Lsn, committed_at: OffsetDateTime) {
        if let Some(last) = self.transactions.back_mut() {
            last.committed = Some((end, committed_at));
        }
    }

    /// One row of the transaction `number` is where it must be.
    pub(crate) fn settle(&mut self, number: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(transaction) = index.and_then(|index| self.transactions.get_mut(index)) {
            transaction.settled += 1;
        }
    }

    /// The server has nothing for us up to `wal_end` but what it has sent already.
    pub(crate) fn idle(&mut self, wal_end: Lsn) {
        match self.transactions.back_mut() {
            None => self.confirmed.lsn = self.confirmed.lsn.max(wal_end),
            // What lies behind the last commit may be confirmed together with it.
            Some(Transaction { committed: Some((end, _)), .. }) => *end = wal_end.max(*end),
            // In the middle of a transaction the server's position means nothing to us.
            Some(_) => {}
        }
    }

    /// How far the slot may be confirmed now; it never goes back.
    pub(crate) fn confirmable(&mut self) -> Confirmed {
        while let Some(Transaction { rows, settled, committed: Some((end, committed_at)) }) =
            self.transactions.front()
            && rows == settled
        {
            self.confirmed.lsn = self.confirmed.lsn.max(*end);
            if *rows > 0 {
                self.confirmed.committed_at = Some(*committed_at);
            }
            self.transactions.pop_front();
            self.first += 1;
        }
        self.confirmed
    }

    /// Is everything that came confirmable?
    pub(crate) fn is_settled(&self) -> bool {
        self.transactions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_later_transaction_waits_for_an_earlier_one() {
        let mut progress = Progress::default();
        let first = progress.begin();
        progress.row();
        progress.commit(Lsn(100), NOW);
        let second = progress.begin();
        progress.row();
        progress.commit(Lsn(200), NOW);
        progress.settle(second);
        assert_eq!(progress.confirmable(), Confirmed::default());
        progress.settle(first);
        assert_eq!(progress.confirmable(), Confirmed { lsn: Lsn(200), committed_at: Some(NOW) });
        assert!(progress.is_settled());
    }

    #[test]
    fn a_transaction_whose_commit_has_not_come_is_not_confirmed_even_if_its_rows_are_settled() {
        let mut progress = Progress::default();
        let number = progress.begin();
        progress.row();
        progress.settle(number);
        progress.idle(Lsn(900));
        assert_eq!(progress.confirmable().lsn, Lsn::ZERO);
        progress.commit(Lsn(100), NOW);
        assert_eq!(progress.confirmable().lsn, Lsn(100));
    }

    #[test]
    fn an_idle_position_is_confirmed_at_once_or_with_what_came_before_it() {
        let mut progress = Progress::default();
        progress.idle(Lsn(50));
        assert_eq!(progress.confirmable(), Confirmed { lsn: Lsn(50), committed_at: None });
        let number = progress.begin();
        progress.row();
        progress.commit(Lsn(100), NOW);
        progress.idle(Lsn(150));
        assert_eq!(progress.confirmable().lsn, Lsn(50));
        progress.settle(number);
        assert_eq!(progress.confirmable().lsn, Lsn(150));
    }

    #[test]
    fn a_transaction_without_rows_moves_the_position_and_not_the_time() {
        let mut progress = Progress::default();
        progress.begin();
        progress.commit(Lsn(10), NOW);
        assert_eq!(progress.confirmable(), Confirmed { lsn: Lsn(10), committed_at: None });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Begin,
        Row,
        Commit,
        Settle(prop::sample::Index),
        Idle,
    }

    proptest! {
        #[test]
        fn nothing_is_confirmed_that_holds_an_unsettled_row_and_everything_is_at_the_end(
            steps in prop::collection::vec(
                prop_oneof![
                    Just(Step::Begin), Just(Step::Row), Just(Step::Row), Just(Step::Commit),
                    any::<prop::sample::Index>().prop_map(Step::Settle), Just(Step::Idle),
                ],
                0..300,
            )
        ) {
            let mut progress = Progress::default();
            let mut wal = 0_u64;
            let mut open: Option<u64> = None;
            let mut unsettled: Vec<u64> = Vec::new();
            let mut ends: Vec<(u64, Lsn)> = Vec::new();
            let mut last = Lsn::ZERO;
            // At the end everything is committed and settled.
            let closing = std::iter::once(Step::Commit);
            for step in steps.into_iter().chain(closing) {
                wal += 8;
                match (step, open) {
                    (Step::Begin, None) => open = Some(progress.begin()),
                    (Step::Row, Some(number)) => {
                        progress.row();
                        unsettled.push(number);
                    }
                    (Step::Commit, Some(number)) => {
                        progress.commit(Lsn(wal), NOW);
                        ends.push((number, Lsn(wal)));
                        open = None;
                    }
                    (Step::Settle(index), _) if !unsettled.is_empty() => {
                        progress.settle(unsettled.swap_remove(index.index(unsettled.len())));
                    }
                    (Step::Idle, _) => progress.idle(Lsn(wal)),
                    _ => {}
                }
                let confirmed = progress.confirmable().lsn;
                prop_assert!(confirmed >= last, "it went back");
                last = confirmed;
                for (number, end) in &ends {
                    prop_assert!(!(unsettled.contains(number) && confirmed >= *end));
                }
            }
            for number in unsettled.drain(..) {
                progress.settle(number);
            }
            let confirmed = progress.confirmable().lsn;
            prop_assert!(progress.is_settled());
            prop_assert!(ends.last().is_none_or(|(_, end)| confirmed >= *end));
        }
    }
}
