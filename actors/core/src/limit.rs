//! Every maximum of the node, in one place (DESIGN invariant 6). Reaching one is an answer, never a crash.

/// Bytes of one XML document.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Nesting of elements in a document.
pub const DOCUMENT_DEPTH_MAX: usize = 128;
/// Elements, attributes and text runs together in a document.
pub const DOCUMENT_NODES_MAX: usize = 1_000_000;
/// Attributes of one element.
pub const DOCUMENT_ATTRIBUTES_MAX: usize = 256;
/// Namespace declarations in scope at one element.
pub const DOCUMENT_NAMESPACES_MAX: usize = 256;
/// Bytes of a name: of a service, an operation, a definition.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of an organization's or a city's name.
pub const TITLE_BYTES_MAX: usize = 128;

/// Operations of one transaction definition, head and tail included.
pub const OPERATIONS_MAX: usize = 20_000;
/// Links of one transaction definition.
pub const LINKS_MAX: usize = 100_000;
/// Nesting of expressions.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// Faults of one definition that are told.
pub const DEFINITION_FAULTS_MAX: usize = 1_000;
/// Recipients of one broadcast operation.
pub const BROADCAST_LEGS_MAX: usize = 20_000;
/// Versions of definitions that a node keeps.
pub const DEFINITIONS_MAX: usize = 10_000;
/// Open transactions of one node.
pub const TRANSACTIONS_OPEN_MAX: usize = 2_000_000;
/// How long an operation waits for anybody who performs it.
pub const PERFORMER_WAIT_MS_MAX: u64 = 30_000;
/// First and longest pause between two looks for a performer.
pub const PERFORMER_RETRY_MS_MIN: u64 = 100;
/// Longest pause between two looks for a performer.
pub const PERFORMER_RETRY_MS_MAX: u64 = 2_000;
/// Peers that are asked for one operation, one after the other, while each refuses.
pub const OPERATION_ATTEMPTS_MAX: u32 = 32;
/// Requesters that wait for one transaction's response.
pub const REQUESTERS_MAX: usize = 64;

/// Services of one organization.
pub const SERVICES_MAX: usize = 4_096;
/// Operations that one service signs up for.
pub const SERVICE_OPERATIONS_MAX: usize = 1_024;
/// Connections of one service that share its work.
pub const SERVICE_SESSIONS_MAX: usize = 256;
/// Invocations queued for one service.
pub const MAILBOX_QUEUE_MAX: usize = 2_000_000;
/// Invocations that one session of a service may hold unanswered, if it grants so many.
pub const SESSION_CREDIT_MAX: u32 = 4_096;

/// Members of a federation that a node knows.
pub const MEMBERS_MAX: usize = 10_000;
/// Bytes of one signed directory record.
pub const DIRECTORY_RECORD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of signed directory records that are sent to a peer at once.
pub const DIRECTORY_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Addresses in a directory record or an invite.
pub const ADDRESSES_MAX: usize = 16;
/// Invites that are open at once.
pub const INVITES_MAX: usize = 1_024;

/// Frames that one link keeps for a peer that is away.
pub const LINK_OUTBOX_FRAMES_MAX: usize = 1_000_000;
/// Frames that travel to a peer unconfirmed.
pub const LINK_WINDOW_FRAMES_MAX: usize = 1_024;
/// Invocations of one peer that are open here at once.
pub const LINK_INVOCATIONS_OPEN_MAX: usize = 100_000;
/// Nodes that an invocation may cross.
pub const HOPS_MAX: u8 = 8;
