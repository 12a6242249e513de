//! Invalid schedules.

/// The most bytes the text of a schedule may have.
pub const SCHEDULE_BYTES_MAX: usize = 500;

/// Why a schedule is invalid, with the wrong part and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSchedule {
    /// The text is empty.
    #[error(
        "the schedule is empty; write crontab such as `0 9 * * *`, or a phrase such as \
         `every day at 9am`"
    )]
    Empty,

    /// The text is longer than [`SCHEDULE_BYTES_MAX`].
    #[error("the schedule has {bytes} bytes; at most {SCHEDULE_BYTES_MAX} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },

    /// Crontab with too few or too many fields.
    #[error(
        "`{text}` has the wrong number of fields ({count}); crontab has 5 (minute, hour, day of \
         month, month, weekday), or 6 with seconds first"
    )]
    FieldCount {
        /// The crontab.
        text: String,
        /// How many fields it has.
        count: usize,
    },

    /// A field of crontab has an invalid part.
    #[error("`{part}` in the {field} field: {reason}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// The invalid part of the field.
        part: String,
        /// What is wrong, and what would be right.
        reason: String,
    },

    /// An unknown `@` word, or one that is no schedule.
    #[error("`{word}` is invalid: {reason}")]
    Shorthand {
        /// The word, with its `@`.
        word: String,
        /// Why it is invalid.
        reason: &'static str,
    },

    /// A period that is not a length of time, or is too short or too long.
    #[error("the period `{period}` is invalid: {reason}")]
    Period {
        /// The period as written.
        period: String,
        /// Why it is invalid.
        reason: &'static str,
    },

    /// A phrase that is not understood.
    #[error(
        "`{part}` in `{text}` is not understood; write for example `every 5 minutes`, \
         `every day at 9am`, `every monday and thursday at 8:30`, `every 15th of the month at \
         noon`, or crontab such as `0 9 * * *`"
    )]
    Phrase {
        /// The first part that is not understood.
        part: String,
        /// The whole phrase.
        text: String,
    },

    /// A time zone that is not in the IANA database.
    #[error("unknown time zone `{name}`{}", hint(.nearest))]
    UnknownZone {
        /// The name as written.
        name: String,
        /// The name that was probably meant.
        nearest: Option<&'static str>,
    },

    /// A time zone before the schedule, and another after it.
    #[error("the schedule names two time zones, `{first}` and `{second}`; keep one")]
    TwoZones {
        /// The one before the schedule.
        first: &'static str,
        /// The one after the schedule.
        second: &'static str,
    },

    /// A date that does not exist, such as 31 February.
    #[error("`{text}` can never fire: no year has such a day")]
    NeverFires {
        /// The schedule.
        text: String,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; use a name of the IANA database, such as `Europe/Berlin`".to_owned(),
    }
}
