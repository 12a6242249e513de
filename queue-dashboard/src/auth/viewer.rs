//! Who looks at the pages, and what they may do.

/// What a viewer may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks at pages.
    Viewer,
    /// Retries, discards and cancels jobs, pauses and resumes queues and recurring jobs.
    Operator,
    /// Everything.
    Admin,
}

/// A person who has signed in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Viewer {
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Viewer {
    /// Makes a viewer of a name and a role.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
        }
    }
}

impl Role {
    /// Returns the word that is shown and accepted: `viewer`, `operator` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the role of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        let mut roles = [Self::Viewer, Self::Operator, Self::Admin].into_iter();
        roles.find(|role| role.as_str() == word)
    }

    /// Returns the word with its article.
    pub(crate) fn with_article(self) -> String {
        let article = if self == Self::Viewer { "a" } else { "an" };
        format!("{article} {}", self.as_str())
    }
}
