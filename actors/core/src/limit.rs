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
/// Bytes of values that one evaluation makes: of a SPLIT, a JOIN, a broadcast's EXPR.
pub const EVALUATION_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Characters to which PADLEFT and PADRIGHT fill a text.
pub const FUNCTION_PADDING_MAX: i64 = 10_000;
/// Exponent of POWER, on either side of zero.
pub const FUNCTION_EXPONENT_MAX: i64 = 100;
/// Bytes of a compiled regular expression.
pub const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an XPath expression.
pub const XPATH_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a document that XPath works on.
pub const XPATH_DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Nodes that one evaluation of an XPath expression visits.
pub const XPATH_VISITS_MAX: usize = 200_000;
/// Libraries of functions that a node has at once.
pub const LIBRARIES_MAX: usize = 64;
/// Bytes of one library.
pub const LIBRARY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of all libraries together, those among them that only older definitions still use.
pub const LIBRARIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Types, functions, global variables and exports of a library's module, of each.
pub const LIBRARY_ITEMS_MAX: usize = 20_000;
/// Bytes of one function in a library's module.
pub const LIBRARY_FUNCTION_BYTES_MAX: usize = 256 * 1024;
/// Locals of one function in a library's module.
pub const LIBRARY_LOCALS_MAX: u64 = 5_000;
/// Locals times control structures of one function in a library's module, a loop as fifty times its depth: what compiling
/// it takes.
pub const LIBRARY_FUNCTION_EFFORT_MAX: u64 = 5_000_000;
/// The same of all its functions.
pub const LIBRARY_EFFORT_MAX: u64 = 50_000_000;
/// Functions of one library.
pub const LIBRARY_FUNCTIONS_MAX: usize = 256;
/// Arguments of one function of a library.
pub const LIBRARY_PARAMETERS_MAX: usize = 32;
/// Libraries that are kept compiled.
pub const LIBRARIES_COMPILED_MAX: usize = 32;
/// Steps of one call of a library's function.
pub const LIBRARY_FUEL_MAX: u64 = 200_000_000;
/// Steps of all calls of libraries' functions in one evaluation.
pub const EVALUATION_FUEL_MAX: u64 = 1_000_000_000;
/// Bytes of memory that one call of a library's function has.
pub const LIBRARY_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Elements of a table in a library.
pub const LIBRARY_TABLE_MAX: usize = 100_000;
/// Bytes of stack that one call of a library's function has.
pub const LIBRARY_STACK_BYTES_MAX: usize = 512 * 1024;
/// Faults of one definition that are told.
pub const DEFINITION_FAULTS_MAX: usize = 1_000;
/// Recipients of one broadcast operation.
pub const BROADCAST_LEGS_MAX: usize = 20_000;
/// How often an operation may be asked for in all.
pub const RETRY_ATTEMPTS_MAX: u32 = 100;
/// The longest pause between two attempts: a week.
pub const RETRY_PAUSE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The most that a pause is multiplied with, in hundredths.
pub const RETRY_FACTOR_PERCENT_MAX: u32 = 10_000;
/// Lines that one operation is performed for.
pub const ITERATION_LINES_MAX: u32 = 20_000;
/// Lines of one operation that are under way at once, unless the definition says otherwise.
pub const ITERATION_CONCURRENT: u32 = 16;
/// Lines of one operation that may be under way at once.
pub const ITERATION_CONCURRENT_MAX: u32 = 1_024;
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
/// The highest priority of an operation.
pub const PRIORITY_MAX: u8 = 9;
/// Transactions that run each other as operations, one inside the other.
pub const SUBTRANSACTION_DEPTH_MAX: u32 = 16;
/// Bytes of the requests of one iteration, all lines together.
pub const ITERATION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers to one transaction that are recorded though they are refused; later ones are refused without.
pub const ANSWERS_REFUSED_MAX: usize = 1_000;
/// Of one operation: answers that mean nothing, or come from whom it was not asked of, and are recorded; later ones are only
/// counted, so that no service can fill the journal with them.
pub const ANSWERS_STRAYED_MAX: usize = 16;
/// How long the response of a transaction that is not kept may still be asked for after its end.
pub const RESPONSE_KEEP_MS: u64 = 120_000;
/// Transactions that are not kept whose responses a node remembers; the oldest are forgotten before their time.
pub const RESPONSES_KEPT_MAX: usize = 200_000;
/// How long what undoes an operation may take beside what its retry policy takes at most, unless the definition says
/// otherwise: 48 hours.
pub const COMPENSATION_TIMEOUT_MS: u64 = 48 * 3_600_000;
/// Bytes of the request documents that are made for the operations of one transaction, all together.
pub const TRANSACTION_REQUESTS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of one entry of the journal: the most that follows from one input has a document that came, every request that a
/// transaction may make, and what it ends with.
pub const ENTRY_BYTES_MAX: usize = TRANSACTION_REQUESTS_BYTES_MAX + 3 * DOCUMENT_BYTES_MAX;
/// Invocations that the mailbox of a service remembers after they left it, so that who waited for them learns of a late
/// answer.
pub const MAILBOX_LEFT_MAX: usize = 4_096;
/// Steps of one dry run.
pub const REHEARSAL_STEPS_MAX: usize = 1_000_000;
/// Requesters that wait for one transaction's response.
pub const REQUESTERS_MAX: usize = 64;

/// Accounts of one node.
pub const ACCOUNTS_MAX: usize = 10_000;
/// Services, definitions and topics that one account is granted by name.
pub const ACCOUNT_RIGHTS_MAX: usize = 1_024;
/// Passwords that are checked at once; each takes memory and time on purpose.
pub const PASSWORD_CHECKS_MAX: usize = 2;
/// Connections that wait for their password to be checked; more are answered `busy`.
pub const PASSWORD_CHECKS_WAITING_MAX: usize = 64;
/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Services of one organization.
pub const SERVICES_MAX: usize = 20_000;
/// Operations that one service signs up for.
pub const SERVICE_OPERATIONS_MAX: usize = 1_024;
/// Connections of one service that share its work.
pub const SERVICE_SESSIONS_MAX: usize = 256;
/// Invocations queued for one service.
pub const MAILBOX_QUEUE_MAX: usize = 2_000_000;
/// Invocations that one session of a service may hold unanswered, if it grants so many.
pub const SESSION_CREDIT_MAX: u32 = 4_096;

/// Topics of one node that have subscribers.
pub const TOPICS_MAX: usize = 10_000;
/// Bytes of the publications that all topics of a node keep together; each counts its document and 512 more.
pub const TOPICS_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Publications that one topic keeps for subscribers that have not had them.
pub const TOPIC_PUBLICATIONS_MAX: usize = 100_000;
/// Bytes of them; each counts its document and 512 more.
pub const TOPIC_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a topic keeps a publication for subscribers that have not had it.
pub const TOPIC_KEEP_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Ids of publications that a topic remembers, to know a repetition.
pub const TOPIC_REMEMBERED_MAX: usize = 16_384;
/// Subscribers of one topic.
pub const TOPIC_SUBSCRIBERS_MAX: usize = 1_024;
/// Bytes of publications that are under way to one session of one subscriber, if it is more than one publication.
pub const NOTIFY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// After so long without an acknowledgement a subscriber holds up no publisher any more.
pub const SUBSCRIBER_STALL_MS_MAX: u64 = 30_000;
/// The longest that a subscriber can put off a publication at once.
pub const NOTIFY_PAUSE_MS_MAX: u64 = 60_000;
/// Publications that are under way from a topic to the link of a peer.
pub const TOPIC_PEER_CREDIT: u32 = 256;

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

/// Connections at once to a node's administration socket.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Bytes of one line there: a document as a JSON string, which escapes some characters.
pub const ADMIN_LINE_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX + 64 * 1024;
/// Bytes of the documents of a transaction's operations that are shown at once.
pub const SHOWN_DOCUMENTS_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Transactions that one request for a list looks at.
pub const LIST_LOOKED_MAX: usize = 10_000;
/// Transactions of a list that are in memory at once, from each place where they are kept.
pub const LIST_STEP: usize = 128;
/// Bytes of an answer there, and at the administration port: two documents and their operations, as JSON.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Requests of one connection to the administration port that the node works on at once.
pub const ADMIN_REQUESTS_MAX: usize = 8;
/// Messages that such a connection may have unacknowledged.
pub const ADMIN_CREDIT: u32 = 16;
/// Bytes of requests that wait or are worked on, over all connections there.
pub const ADMIN_REQUESTS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of an answer's part in one message there.
pub const ADMIN_PART_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lines there over [`ADMIN_LINE_BYTES_SMALL`] that are in memory at once.
pub const ADMIN_LINES_LARGE_MAX: usize = 4;
/// Up to how many bytes a line there is nothing special.
pub const ADMIN_LINE_BYTES_SMALL: usize = 64 * 1024;
/// Connections at once to a node's port for health and metrics.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Frames that one link keeps for a peer that is away.
pub const LINK_OUTBOX_FRAMES_MAX: usize = 1_000_000;
/// Frames that travel to a peer unconfirmed.
pub const LINK_WINDOW_FRAMES_MAX: usize = 1_024;
/// Invocations of one peer that are open here at once.
pub const LINK_INVOCATIONS_OPEN_MAX: usize = 100_000;
/// Topics of this node that one peer follows.
pub const LINK_TOPICS_MAX: usize = 1_024;
/// Nodes that an invocation may cross.
pub const HOPS_MAX: u8 = 8;

/// Bytes of content of one CXIP message: a document and its envelope, or a service with all its operations.
pub const CXIP_CONTENT_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 256 * 1024;
/// Bytes of content behind one CXIP header; messages with more travel in fragments, between which others find their way.
pub const CXIP_FRAGMENT_BYTES_MAX: usize = 64 * 1024;
/// Messages of one CXIP connection that are in fragments on their way at once, in one direction.
pub const CXIP_FRAGMENTED_MAX: usize = 4;
/// Bytes of messages that have come in part, over all CXIP connections of a node.
pub const CXIP_ASSEMBLY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long the next fragment of a message may take, in probes: the clock of a CXIP connection.
pub const CXIP_FRAGMENT_PROBES_MAX: u32 = 3;
/// How long all fragments of a message may take, in probes.
pub const CXIP_FRAGMENTS_PROBES_MAX: u32 = 30;
/// Messages that one end of a CXIP connection may have unacknowledged at the other.
pub const CXIP_CREDIT: u32 = 1_024;
/// Connections of one CXIP listener.
pub const CXIP_CONNECTIONS_MAX: usize = 4_096;
/// Bytes that wait for one CXIP connection that reads too slowly; each message counts 512, and its document if nobody else
/// keeps that.
pub const CXIP_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that wait for all CXIP connections of a node; above, those for which more than their share waits are cut.
pub const CXIP_QUEUES_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Sessions of CXIP over HTTP at once.
pub const CXIP_HTTP_SESSIONS_MAX: usize = 1_024;
/// How long a request of CXIP over HTTP waits for something to answer.
pub const CXIP_HTTP_WAIT_MS_MAX: u64 = 20_000;
/// Above so many bytes a response of CXIP over HTTP is not made longer.
pub const CXIP_HTTP_RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// How long a new CXIP connection may take to say who it is.
pub const CXIP_CONNECT_MS_MAX: u64 = 10_000;
/// After so long without a word, an end of a CXIP connection asks the other for a sign of life.
pub const CXIP_PROBE_MS: u64 = 10_000;
/// After so long without a word, an end of a CXIP connection takes the other for dead.
pub const CXIP_SILENCE_MS_MAX: u64 = 30_000;
/// Addresses of the other sub-node that a CXIP connection is told at most.
pub const CXIP_ALTERNATES_MAX: usize = 8;
/// Bytes of one of them, host and port.
pub const CXIP_ADDRESS_BYTES_MAX: usize = 260;
/// After so long without a word, who is attached to one of a pair asks it for a sign of life: the other may have taken over.
pub const CXIP_PAIR_PROBE_MS: u64 = 1_000;
/// After so long without a word, who is attached to one of a pair looks for the other.
pub const CXIP_PAIR_SILENCE_MS_MAX: u64 = 3_000;
/// After how long to try again what was refused as busy.
pub const BUSY_RETRY_MS: u64 = 100;

/// First pause before a service or a client connects again.
pub const RECONNECT_MS_MIN: u64 = 10;
/// Longest pause before a service or a client connects again.
pub const RECONNECT_MS_MAX: u64 = 2_000;
/// Longest pause while one of a pair may be taking over from the other, which is known to both.
pub const RECONNECT_TAKEOVER_MS_MAX: u64 = 100;
/// Pauses for which it may.
pub const RECONNECT_TAKEOVER_PAUSES: u32 = 64;
/// How long one address may take to answer before the next is tried beside it.
pub const RECONNECT_STAGGER_MS: u64 = 250;
/// How often whoever is refused is sent on to another address before it pauses.
pub const RECONNECT_HOPS_MAX: u32 = 3;
/// How long a service or a client goes on repeating what is refused as busy.
pub const BUSY_PATIENCE_MS_MAX: u64 = 60_000;
/// Submissions that one client has open at once, unless it says otherwise.
pub const SUBMISSIONS_OPEN: usize = 4_096;
/// Replies that a service remembers for invocations that come again.
pub const REPLIES_REMEMBERED_MAX: usize = 65_536;
/// Bytes of the replies that a service remembers.
pub const REPLIES_REMEMBERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Invocations that an in-memory node remembers for a test to look at.
pub const TEST_INVOCATIONS_MAX: usize = 65_536;
