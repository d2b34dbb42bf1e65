//! Fairlead.
