//! What other people's processes meet that attach to a real `hansa`: the project of a new service, and a service and a
//! requester in Python.

mod access;
mod administration;
mod node;
mod over_http;
mod python;
mod service_new;
mod topics;
