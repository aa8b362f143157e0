//! What other people's processes meet that attach to a real `hansa`: the project of a new service, and a service and a
//! requester in Python.

mod access;
mod node;
mod python;
mod service_new;
