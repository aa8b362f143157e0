//! The pair and its witnesses, in small worlds of their own.
