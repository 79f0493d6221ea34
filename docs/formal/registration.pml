/*
 * DPE-1 registration: the state machines of the DPE Client and of the DPE Server, over a network that loses, repeats,
 * reorders and delays messages, under an attacker who replays what was ever sent, with crashes of the server at every
 * point around its commit, reboots of the device, and failures of both stores. For Spin 6.5. README.md explains the
 * model and its limits; tests/formal runs it and compares its transitions with the tables in the code.
 *
 * Cryptography is perfect here: a message is its kind and the REQUEST or the transaction that it belongs to, and only
 * the holder of the key brings a new one into the network. That a security token gives just this is what the symbolic
 * models show. A REQUEST is a number, as its nonce is fresh. A transaction is a number too: the server draws one for a
 * REQUEST that it does not know, with a nonce of its own, so the messages of two transactions always differ.
 */

/* Bounds of the exploration; each may be set with -D. */
#ifndef DEVICES
#define DEVICES      1    /* or 2; each with a client of its own */
#endif
#ifndef ASKS
#define ASKS         3    /* REQUESTs of a device */
#endif
#ifndef DRAWS
#define DRAWS        4    /* transactions in all */
#endif
#ifndef CLIENT_IDS
#define CLIENT_IDS   4    /* in the range that the policy names */
#endif
#ifndef FAULTS
#define FAULTS       2    /* crashes, reboots, failed commits and failed saves, together */
#endif
#ifndef PER_DEVICE
#define PER_DEVICE   2    /* transactions of one device in the server's memory; the code has 4 */
#endif
#ifndef REFUSALS
#define REFUSALS     1    /* whether the policy may refuse */
#endif
#ifndef WORKERS
#define WORKERS      1    /* processes of the server, on one database */
#endif
#ifndef CLOCK
#define CLOCK        0    /* whether ordinals follow a clock that all processes share and that never steps back */
#endif
#ifndef BATCH
#define BATCH        2    /* sessions in one commit; the code has up to 256 */
#endif
#ifndef ANY_HANDLE
#define ANY_HANDLE   1    /* with SIEGE: whether the attacker has REQUESTs with the same handle, or with older ones only */
#endif
#ifndef EXCHANGES
#define EXCHANGES    3    /* with the same SUCCESS, as in the code */
#endif

/* Sets of numbers below 8, as bits. */
#define HAS(set, n)     ((set >> (n)) & 1)
#define ADD(set, n)     set = set | (1 << (n))
#define REMOVE(set, n)  set = set & (255 - (1 << (n)))

inline choose(n, set) {    /* n, which is 0, becomes any member of a set that is not empty */
    do
    :: HAS(set, n) -> break
    :: (set >> (n + 1)) != 0 -> n++
    od
}

/* Every transition of a table in the code is written with MOVE, and no other is. */
#define MOVE(machine, from, event, to)  assert(machine == from); machine = to

/* What must hold is named, and a violation is reported under its name. */
#define VIOLATED(name)            name = false; assert(name)
#define REQUIRE(name, condition)  if :: (condition) :: else -> VIOLATED(name) fi

/* ---- The network: every message that was ever sent. Any of them may come, at any time and any number of times: loss,
   repetition, reordering, delay, and replay by an attacker, all in one. ---- */

byte requests, responses;                  /* by REQUEST; by transaction */
byte accepts, declines;                    /* SUCCESS with status ok, and with another */
byte confirmed, released, superseded;      /* CONFIRM, by its status */

/* What a REQUEST and a transaction are about; it never changes once they are there. */
#define DEVICE_OF(r)  ((r) / ASKS)
#define DEVICE(t)     DEVICE_OF(request_of[t])
byte request_of[DRAWS];
byte client_id[DRAWS];
mtype:status = { OK, REFUSE, RETRY, UNAVAILABLE };
mtype:status status[DRAWS] = OK;           /* of its RESPONSE; RETRY: another version, X25519 or redirect */
byte drawn;                                /* transactions so far */

byte faults = FAULTS;                      /* that may still happen */

/* ---- The DPE Client: device/dpe_device/registration.py ---- */

mtype:client = { IDLE, REQUESTING, CONFIRMING, REGISTERED, REFUSED, BACKOFF };
mtype:client client[DEVICES] = IDLE;
byte asked[DEVICES];                       /* REQUESTs so far */
byte accepted[DEVICES];                    /* the transaction, from CONFIRMING on */
bool declining[DEVICES];                   /* whether SUCCESS declines */
mtype:late = { NOTHING_OPEN, REQUEST_OPEN, SUCCESS_OPEN };
mtype:late late[DEVICES] = NOTHING_OPEN;   /* in BACKOFF: whose answer still counts, until the next attempt */
#define CURRENT(d)     ((d) * ASKS + asked[d] - 1)   /* the last REQUEST */
#define REQUESTS(d)    (client[d] == REQUESTING || (client[d] == BACKOFF && late[d] == REQUEST_OPEN))
#define CONFIRMS(d)    (client[d] == CONFIRMING || (client[d] == BACKOFF && late[d] == SUCCESS_OPEN))

mtype:mark = { NO_SESSION, UNCONFIRMED, CONFIRMED };
typedef Record { mtype:mark mark = NO_SESSION; byte session };
Record saved[DEVICES];                     /* in flash: survives a reboot */
Record held[DEVICES];                      /* in memory: what the client believes is saved */

/* How fresh a handle is: the first is the oldest, and each is fresher than the one it was given for. The server reads it
   in the handle, and a client knows nothing of it. */
byte fresh[DEVICES * ASKS];                /* of the handle in a REQUEST */
#define HANDLE(d)  (held[d].mark == NO_SESSION -> 0 : fresh[request_of[held[d].session]] + 1)

/* ---- The DPE Server: server/dpe_server/registration/transactions.py, registrar.py, store/commit_rules.py ---- */

mtype:transaction = { GONE, ANSWERED, PENDING, COMMITTING, ESTABLISHED, RELEASED, SUPERSEDED };
mtype:transaction transaction[DRAWS] = GONE;  /* in memory; GONE: not there yet, or forgotten */
byte worker_of[DRAWS];                     /* in whose memory */
byte order_of[DRAWS];                      /* its ordinal */
byte ordinal[WORKERS];                     /* the last one given, in memory; not used with CLOCK */
chan batch[WORKERS] = [BATCH] of { byte }; /* transactions before the commit */
mtype:outcome = { COMMITTED, OLDER, TAKEN };  /* TAKEN: another device's session has the Client ID */
chan decided[WORKERS] = [BATCH] of { byte, mtype:outcome };  /* after it */

byte sessions;                             /* on disk: the transactions whose session is live */
byte ended;                                /* those whose session another has replaced */
byte last_ordinal;                         /* on disk */

/* ---- What must hold ---- */

bool registered_client_has_a_session = true;  /* on disk, of the same transaction: same Client ID, same TH3 */
bool session_was_accepted = true;          /* no session but for a SUCCESS(ok) of its own: a decline makes none */
bool one_session_per_device = true;
bool client_ids_differ = true;             /* of sessions; and a new offer differs from them and from open offers */
bool transactions_are_bounded = true;
bool same_request_same_response = true;    /* while the transaction lives */
bool same_success_same_confirm = true;     /* while the session lives, and not longer */
bool confirm_means_durable = true;         /* CONFIRM(ok) leaves only once its session has been on disk */
bool superseded_by_a_newer_one = true;     /* no registration loses to an older one */
bool request_leaves_sessions = true;       /* a REQUEST, new or replayed, changes nothing on disk */

proctype Invariants() {
#define STANDS(d)  (client[d] != REGISTERED || HAS(sessions, accepted[d]))
end:
    atomic {
        if
        :: !STANDS(0) || !STANDS(DEVICES - 1) -> VIOLATED(registered_client_has_a_session)
        :: (sessions & accepts) != sessions -> VIOLATED(session_was_accepted)
        fi
    }
}

/* ---- When it ends. With CALM, from some moment on the network delivers and nothing fails any more: a message goes to
   the server once, its answer to the client once, and the client's time-out comes when neither is under way. The client
   must then come to an end. RESERVE REQUESTs and transactions are kept for that time.

   Then the attacker rests; but not with SIEGE, where it can send, though stop nothing. It sends any REQUEST that was
   ever sent, at any time and for ever, and it resets each exchange before it is answered. The client's next attempt
   begins when the answer has come or is lost, as a back-off takes longer than a round trip. ---- */

#ifdef CALM
bool calm;
mtype:mail = { NOTHING, TO_SERVER, TO_CLIENT };
mtype:mail mail = NOTHING;
byte answer;                               /* the transaction of the last RESPONSE */
#define TURBULENT         (!calm)
#define MAY_ASK(d)        (asked[d] < (calm -> ASKS : ASKS - RESERVE))
#define MAY_DRAW          (drawn < (calm -> DRAWS : DRAWS - RESERVE))
#define CLIENT_SENDS      if :: calm -> mail = TO_SERVER :: else fi
#define SERVER_HEARS(now) (!calm || (mail == TO_SERVER && now))
#define SERVER_HEARD      mail = NOTHING
#define SERVER_ANSWERS    if :: calm -> mail = TO_CLIENT :: else fi
#define CLIENT_HEARS      (!calm || mail == TO_CLIENT)
#define CLIENT_HEARD      mail = NOTHING
#define TIME_OUT          (!calm || (mail == NOTHING && empty(batch[0]) && empty(decided[0])))
#define CHOOSE(n, set, now)  if :: calm -> n = now :: else -> choose(n, set) fi

#ifdef SIEGE
#define RESET             calm
#define MAY_DECLINE       (!calm)    /* who declines keeps the handle it has, and ends by declining again */
#else
#define RESET             false
#define MAY_DECLINE       true
#endif

proctype Weather() { calm = true }

#define AT_AN_END  (client[0] == REGISTERED || client[0] == REFUSED || client[0] == IDLE)
ltl the_client_comes_to_an_end { [] (calm -> <> AT_AN_END) }
#else
#define TURBULENT         true
#define MAY_ASK(d)        (asked[d] < ASKS)
#define MAY_DRAW          (drawn < DRAWS)
#define CLIENT_SENDS      skip
#define SERVER_HEARS(now) true
#define SERVER_HEARD      skip
#define SERVER_ANSWERS    skip
#define CLIENT_HEARS      true
#define CLIENT_HEARD      skip
#define TIME_OUT          true
#define RESET             false
#define MAY_DECLINE       true
#define CHOOSE(n, set, now)  choose(n, set)
#endif

/* ------------------------------------------------------------------------------------------------------------------ */

inline save(to_mark, to_session) {
    if
    :: saved[d].mark = to_mark; saved[d].session = to_session; done = true
    :: faults > 0 && TURBULENT -> faults--; done = false                   /* the old record is still there */
    :: faults > 0 && TURBULENT -> faults--; done = false;                  /* or the new one after all */
       saved[d].mark = to_mark; saved[d].session = to_session
    fi
}

inline leave() { accepted[d] = 0; declining[d] = false; tries = 0 }
inline close() { late[d] = NOTHING_OPEN; retried = false; leave() }    /* no answer counts any more */

inline send_request() {        /* its nonce is fresh */
    asked[d]++;
    fresh[CURRENT(d)] = HANDLE(d);
    ADD(requests, CURRENT(d));
    CLIENT_SENDS
}

inline begin() {               /* an attempt: the boot counter is saved, with the session there is */
    close();
    save(held[d].mark, held[d].session);
    done = false;
    send_request()
}

inline send_success() {        /* the same bytes in each of the exchanges */
    if
    :: declining[d] -> ADD(declines, accepted[d])
    :: else -> ADD(accepts, accepted[d])
    fi;
    CLIENT_SENDS
}

inline accept() {              /* a RESPONSE with status ok: the session is saved before SUCCESS is sent */
    accepted[d] = t;
    if
    :: save(UNCONFIRMED, t);
       if
       :: done -> held[d].mark = UNCONFIRMED; held[d].session = t
       :: else -> declining[d] = true                                      /* storage-failure */
       fi
    :: MAY_DECLINE -> declining[d] = true                                  /* the application, or the version */
    fi;
    done = false;
    if
    :: declining[d] && client[d] == REQUESTING -> MOVE(client[d], REQUESTING, declined, CONFIRMING)
    :: declining[d] && client[d] == BACKOFF -> MOVE(client[d], BACKOFF, declined, CONFIRMING)
    :: !declining[d] && client[d] == REQUESTING -> MOVE(client[d], REQUESTING, accepted, CONFIRMING)
    :: !declining[d] && client[d] == BACKOFF -> MOVE(client[d], BACKOFF, accepted, CONFIRMING)
    fi;
    tries = EXCHANGES;
    send_success()
}

inline again() {               /* a REQUEST in the same attempt */
    late[d] = NOTHING_OPEN;
    send_request();
    retried = true
}

proctype Client(byte d) {
    byte t; bool done;         /* scratch: 0 and false between the steps */
    byte tries;                /* exchanges left with the same SUCCESS */
    bool retried;              /* whether this attempt has had its retry */
end:
    do
    /* step */
    :: atomic { client[d] == IDLE && MAY_ASK(d) && TURBULENT -> MOVE(client[d], IDLE, step, REQUESTING); begin() }
    :: atomic { client[d] == BACKOFF && MAY_ASK(d) && TIME_OUT -> MOVE(client[d], BACKOFF, step, REQUESTING); begin() }

    /* the boot counter is at its end: so few attempts come before that here that it is one of the faults */
    :: atomic { faults > 0 && TURBULENT && (client[d] == IDLE || client[d] == BACKOFF || client[d] == REQUESTING) ->
           if
           :: client[d] == IDLE -> MOVE(client[d], IDLE, exhausted, REFUSED)
           :: client[d] == BACKOFF -> MOVE(client[d], BACKOFF, exhausted, REFUSED)
           :: client[d] == REQUESTING -> MOVE(client[d], REQUESTING, exhausted, REFUSED)
           fi;
           faults--;
           close()
       }

    /* start: the application wants a registration */
    :: atomic { client[d] == BACKOFF && TURBULENT -> MOVE(client[d], BACKOFF, start, IDLE); close() }
    :: atomic { client[d] == REFUSED && TURBULENT -> MOVE(client[d], REFUSED, start, IDLE) }
    :: atomic { client[d] == REGISTERED && TURBULENT -> MOVE(client[d], REGISTERED, start, IDLE); leave() }

    /* no answer, a reset, or an error without a security token */
    :: atomic { client[d] == REQUESTING && (TIME_OUT || RESET) ->
           MOVE(client[d], REQUESTING, failed, BACKOFF);
           late[d] = REQUEST_OPEN
       }
    :: atomic { client[d] == CONFIRMING && (TIME_OUT || (RESET && tries == 1)) ->
           tries--;
           if
           :: tries > 0 -> MOVE(client[d], CONFIRMING, repeated, CONFIRMING); send_success()
           :: else -> MOVE(client[d], CONFIRMING, failed, BACKOFF); late[d] = SUCCESS_OPEN
           fi
       }

    /* RESPONSE. Its MAC covers TH1, so it answers the last REQUEST; of two answers to that, whichever comes first. */
    :: atomic { REQUESTS(d) && responses != 0 && CLIENT_HEARS ->
           CHOOSE(t, responses, answer);
           if
           :: request_of[t] != CURRENT(d) -> skip
           :: else ->
               CLIENT_HEARD;
               if
               :: status[t] == OK -> accept(); late[d] = NOTHING_OPEN; retried = false
               :: status[t] == UNAVAILABLE ->
                   if
                   :: client[d] == REQUESTING -> MOVE(client[d], REQUESTING, failed, BACKOFF)
                   :: client[d] == BACKOFF -> MOVE(client[d], BACKOFF, failed, BACKOFF)
                   fi;
                   close()
               :: status[t] == RETRY && !retried ->
                   if
                   :: MAY_ASK(d) && client[d] == REQUESTING -> MOVE(client[d], REQUESTING, retried, REQUESTING); again()
                   :: MAY_ASK(d) && client[d] == BACKOFF -> MOVE(client[d], BACKOFF, retried, REQUESTING); again()
                   :: else        /* the exploration ends here */
                   fi
               :: status[t] == REFUSE || (status[t] == RETRY && retried) ->
                   if
                   :: client[d] == REQUESTING -> MOVE(client[d], REQUESTING, refused, REFUSED)
                   :: client[d] == BACKOFF -> MOVE(client[d], BACKOFF, refused, REFUSED)
                   fi;
                   close()
               fi
           fi;
           t = 0
       }

    /* CONFIRM. Its MAC is under a key of the transaction and covers TH3, so it answers this SUCCESS. */
    :: atomic { CONFIRMS(d) && !declining[d] && HAS(confirmed, accepted[d]) && CLIENT_HEARS ->
           held[d].mark = CONFIRMED;
           save(CONFIRMED, accepted[d]);   /* if this fails, the next boot repeats SUCCESS */
           if
           :: client[d] == CONFIRMING -> MOVE(client[d], CONFIRMING, confirmed, REGISTERED)
           :: client[d] == BACKOFF -> MOVE(client[d], BACKOFF, confirmed, REGISTERED)
           fi;
           done = false; late[d] = NOTHING_OPEN; tries = 0; CLIENT_HEARD
       }
    :: atomic { CONFIRMS(d) && !declining[d] && HAS(superseded, accepted[d]) && CLIENT_HEARS ->
           if
           :: client[d] == CONFIRMING -> MOVE(client[d], CONFIRMING, failed, BACKOFF)
           :: client[d] == BACKOFF -> MOVE(client[d], BACKOFF, failed, BACKOFF)
           fi;
           close(); CLIENT_HEARD
       }
    :: atomic { CONFIRMS(d) && declining[d] && HAS(released, accepted[d]) && CLIENT_HEARS ->
           if
           :: client[d] == CONFIRMING -> MOVE(client[d], CONFIRMING, released, IDLE)
           :: client[d] == BACKOFF -> MOVE(client[d], BACKOFF, released, IDLE)
           fi;
           close(); CLIENT_HEARD
       }

    /* a reboot */
    :: atomic { faults > 0 && TURBULENT ->
           faults--;
           held[d].mark = saved[d].mark; held[d].session = saved[d].session;
           close();
           if
           :: saved[d].mark == NO_SESSION -> client[d] = IDLE
           :: saved[d].mark == UNCONFIRMED ->
               client[d] = CONFIRMING; accepted[d] = saved[d].session; tries = EXCHANGES; send_success()
           :: saved[d].mark == CONFIRMED -> client[d] = REGISTERED; accepted[d] = saved[d].session
           fi
       }
    od
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* What a worker has in its memory. */
#define IN_MEMORY(t)  (transaction[t] != GONE && worker_of[t] == w)
#define IS(t, state)  (transaction[t] == state && worker_of[t] == w)

/* t: the first transaction in memory for which this holds, or drawn */
#define FIND(condition)  do :: t == drawn || (IN_MEMORY(t) && (condition)) -> break :: else -> t++ od

/* When the bound is reached, the device's transaction with the oldest handle goes, and of several with the same handle
   the one that came first; but none that awaits its commit, and never the new one. */
#define FRESHER(o, than)  (than != t && fresh[request_of[o]] > fresh[request_of[than]])

inline make_room() {
    do
    :: o = drawn; oldest = t; count = 0;
       do
       :: o == 0 -> break
       :: else ->
           o--;
           if
           :: o != t && IN_MEMORY(o) && DEVICE(o) == DEVICE(t) ->
               count++;
               if :: transaction[o] != COMMITTING && !FRESHER(o, oldest) -> oldest = o :: else fi
           :: else
           fi
       od;
       if :: count < PER_DEVICE || oldest == t -> break :: else -> transaction[oldest] = GONE; count-- fi
    od;
    REQUIRE(transactions_are_bounded, count < PER_DEVICE || oldest == t);
    count = 0; oldest = 0
}

#ifdef SIEGE
/* A transaction that nobody can ask about any more makes room for another; those after it move up. */
#define REFERS(d, o)  ((saved[d].mark != NO_SESSION && saved[d].session == o) || (CONFIRMS(d) && accepted[d] == o) || \
                       (held[d].mark != NO_SESSION && held[d].session == o) || (mail == TO_CLIENT && answer == o))
#define UP(x)         x = (x > o -> x - 1 : x)
#define DROP(set)     set = (set & ((1 << o) - 1)) | ((set >> (o + 1)) << o)

inline collect() {
    do
    :: o == drawn -> break
    :: o < drawn && transaction[o] == GONE && !HAS(sessions, o) && !REFERS(0, o) -> break
    :: else -> o++
    od;
    if
    :: o < drawn ->
        DROP(responses); DROP(accepts); DROP(declines); DROP(confirmed); DROP(released); DROP(superseded);
        DROP(sessions); DROP(ended);
        UP(accepted[0]); UP(answer);
        if :: saved[0].mark != NO_SESSION -> UP(saved[0].session) :: else fi;
        if :: held[0].mark != NO_SESSION -> UP(held[0].session) :: else fi;
        drawn--;
        do
        :: o == drawn -> break
        :: else ->
            request_of[o] = request_of[o + 1]; client_id[o] = client_id[o + 1]; status[o] = status[o + 1];
            transaction[o] = transaction[o + 1]; o++
        od;
        request_of[o] = 0; client_id[o] = 0; status[o] = OK; transaction[o] = GONE; order_of[o] = 0;
        t = drawn
    :: else
    fi;
    o = 0
}

#define COLLECT  if :: calm && t == drawn && drawn == DRAWS && len(batch[w]) == 0 -> d_step { collect() } :: else fi
#else
#define COLLECT  skip
#endif

#define RESERVED(o)  (HAS(sessions, o) || IS(o, PENDING) || IS(o, COMMITTING))

inline check_requests() {
    do
    :: o == drawn -> break
    :: else -> REQUIRE(same_request_same_response, o == t || !IN_MEMORY(o) || request_of[o] != r); o++
    od;
    o = 0
}

inline draw_client_id() {      /* the first that is in no session and no open offer; CLIENT_IDS: there is none */
    o = 0;
    do
    :: o == drawn || client_id[t] == CLIENT_IDS -> break
    :: else -> if :: o != t && RESERVED(o) && client_id[o] == client_id[t] -> client_id[t]++; o = 0 :: else -> o++ fi
    od;
    o = 0
}

inline check_client_ids() {
    do
    :: o == drawn -> break
    :: else -> REQUIRE(client_ids_differ, o == t || !RESERVED(o) || !RESERVED(t) || client_id[o] != client_id[t]); o++
    od;
    o = 0
}

inline commit() {              /* store/commit_rules.py: sets outcome */
    outcome = COMMITTED;
    do                         /* the device's session, unless that is the same, must be older */
    :: o == drawn -> break
    :: else ->
        if
        :: o != t && HAS(sessions, o) && DEVICE(o) == DEVICE(t) ->
            mine = o + 1;
            if :: order_of[o] >= order_of[t] -> outcome = OLDER :: else fi
        :: o != t && HAS(sessions, o) && DEVICE(o) != DEVICE(t) && client_id[o] == client_id[t] ->
            if :: outcome == COMMITTED -> outcome = TAKEN :: else fi
        :: else
        fi;
        o++
    od;
    o = 0;
    if
    :: outcome == COMMITTED ->
        if :: mine > 0 -> REMOVE(sessions, mine - 1); ADD(ended, mine - 1) :: else fi;
        ADD(sessions, t);
        last_ordinal = (last_ordinal < order_of[t] -> order_of[t] : last_ordinal)
    :: else
    fi;
    mine = 0
}

#define BOTH_LIVE(o, t)  (o != t && HAS(sessions, o) && HAS(sessions, t))

inline check_sessions() {
    do
    :: o == drawn -> break
    :: else ->
        REQUIRE(one_session_per_device, !BOTH_LIVE(o, t) || DEVICE(o) != DEVICE(t));
        REQUIRE(client_ids_differ, !BOTH_LIVE(o, t) || client_id[o] != client_id[t]);
        o++
    od;
    o = 0
}

inline send_confirmed() {
    REQUIRE(confirm_means_durable, HAS(sessions, t) || HAS(ended, t));
    ADD(confirmed, t)
}

inline check_superseded() {
    o = t + 1;
    do
    :: o == drawn -> VIOLATED(superseded_by_a_newer_one)
    :: o < drawn && HAS(sessions, o) && DEVICE(o) == DEVICE(t) -> break
    :: else -> o++
    od;
    o = 0
}

inline send_superseded() {
    d_step { check_superseded() }
    ADD(superseded, t)
}

inline take_request() {        /* t: its transaction, or drawn if the exploration ends here */
    d_step { FIND(request_of[t] == r) }
    COLLECT;
    before = sessions;
    if
    :: t == drawn && MAY_DRAW ->
        drawn++;
        request_of[t] = r;
        worker_of[t] = w;
        ordinal[w] = (CLOCK -> 0 : ordinal[w] + 1);
        order_of[t] = (CLOCK -> drawn : ordinal[w]);
        d_step { check_requests() }
        d_step { make_room() }
        if                                                          /* the policy decides */
        :: d_step { draw_client_id() }
           if
           :: client_id[t] < CLIENT_IDS -> transaction[t] = PENDING; d_step { check_client_ids() }
           :: else -> client_id[t] = 0; transaction[t] = ANSWERED; status[t] = UNAVAILABLE
           fi
        :: REFUSALS && TURBULENT -> transaction[t] = ANSWERED; status[t] = UNAVAILABLE
        :: REFUSALS -> transaction[t] = ANSWERED; status[t] = RETRY
        :: REFUSALS -> transaction[t] = ANSWERED; status[t] = REFUSE
        fi;
        ADD(responses, t)
    :: else
    fi;
    REQUIRE(request_leaves_sessions, sessions == before);
    before = 0
}

proctype Server(byte w) {
    byte r, t, o, mine, count, oldest, before; bool lives;  /* scratch: 0 and false between the steps */
    mtype:outcome outcome = COMMITTED;                      /* so between the steps */
end:
    do
    /* -- Prepare: messages are decided one by one, until the batch is committed. -- */

    /* REQUEST */
    :: atomic { requests != 0 && empty(decided[w]) && SERVER_HEARS(REQUESTS(0)) ->
           CHOOSE(r, requests, CURRENT(0));
           SERVER_HEARD;
           take_request();
           if :: t < drawn -> SERVER_ANSWERS :: else fi;                   /* the same bytes, if it came before */
#ifdef CALM
           answer = (t < drawn -> t : 0);
#endif
           r = 0; t = 0
       }

    /* SUCCESS with status ok */
    :: atomic { accepts != 0 && empty(decided[w]) && nfull(batch[w]) &&
                SERVER_HEARS((CONFIRMS(0) && !declining[0])) ->
           CHOOSE(t, accepts, accepted[0]);
           SERVER_HEARD;
           if
           :: IS(t, PENDING) -> MOVE(transaction[t], PENDING, CONFIRMED, COMMITTING); batch[w] ! t
           :: IS(t, COMMITTING) -> skip                                    /* the batch's answer is the answer */
           :: IS(t, SUPERSEDED) -> send_superseded(); SERVER_ANSWERS
           :: else ->                                                      /* the store alone knows of live sessions */
               if
               :: HAS(sessions, t) -> lives = true; send_confirmed(); SERVER_ANSWERS
               :: else -> skip                                             /* 4.01 */
               fi;
               REQUIRE(same_success_same_confirm, lives == HAS(sessions, t))
           fi;
           t = 0; lives = false
       }

    /* SUCCESS with another status */
    :: atomic { declines != 0 && empty(decided[w]) && SERVER_HEARS((CONFIRMS(0) && declining[0])) ->
           CHOOSE(t, declines, accepted[0]);
           SERVER_HEARD;
           if
           :: IS(t, PENDING) ->
               MOVE(transaction[t], PENDING, DECLINED, RELEASED); ADD(released, t); SERVER_ANSWERS
           :: IS(t, RELEASED) -> SERVER_ANSWERS                            /* the same bytes again */
           :: else -> skip                                                 /* 4.01 */
           fi;
           t = 0
       }

    /* The life of a transaction ends. All live equally long, so the oldest goes first. */
    :: atomic { TURBULENT && empty(batch[w]) && empty(decided[w]) ->
           d_step { FIND(true) }
           if :: t < drawn -> transaction[t] = GONE :: else fi;
           t = 0
       }

    /* -- Commit: one transaction of the database for the whole batch, or nothing of it. -- */
    :: atomic { nempty(batch[w]) ->
           do
           :: nempty(batch[w]) -> batch[w] ? t; d_step { commit() } d_step { check_sessions() } decided[w] ! t, outcome
           :: empty(batch[w]) -> break
           od;
           t = 0; outcome = COMMITTED
       }
    :: atomic { nempty(batch[w]) && faults > 0 && TURBULENT ->
           faults--;
           do
           :: nempty(batch[w]) ->
               batch[w] ? t;
               if
               :: transaction[t] == COMMITTING -> MOVE(transaction[t], COMMITTING, STORE_FAILED, PENDING)
               :: else            /* a bound has evicted it */
               fi
           :: empty(batch[w]) -> break
           od;
           t = 0
       }

    /* -- Complete: the transactions move in the batch's order, then all replies leave. -- */
    :: atomic { nempty(decided[w]) ->
           count = len(decided[w]);
           do
           :: count > 0 ->
               count--;
               decided[w] ? t, outcome;
               if
               :: transaction[t] != COMMITTING -> skip                     /* a bound has evicted it */
               :: transaction[t] == COMMITTING && outcome == COMMITTED ->
                   MOVE(transaction[t], COMMITTING, COMMITTED, ESTABLISHED)
               :: transaction[t] == COMMITTING && outcome == OLDER ->
                   MOVE(transaction[t], COMMITTING, NEWER_WON, SUPERSEDED)
               :: transaction[t] == COMMITTING && outcome == TAKEN -> transaction[t] = GONE
               fi;
               if
               :: outcome == COMMITTED ->
                   do
                   :: o == drawn -> break
                   :: else ->
                       if
                       :: o != t && IS(o, ESTABLISHED) && DEVICE(o) == DEVICE(t) ->
                           MOVE(transaction[o], ESTABLISHED, NEWER_WON, SUPERSEDED)
                       :: else
                       fi;
                       o++
                   od;
                   o = 0
               :: else
               fi;
               decided[w] ! t, outcome
           :: count == 0 -> break
           od;
           do
           :: nempty(decided[w]) ->
               decided[w] ? t, outcome;
               if
               :: outcome == TAKEN -> skip                                 /* 4.01 */
               :: outcome == COMMITTED && transaction[t] != SUPERSEDED -> send_confirmed()
               :: else -> send_superseded()
               fi;
#ifdef CALM
               if :: CONFIRMS(0) && !declining[0] && t == accepted[0] -> SERVER_ANSWERS :: else fi
#endif
           :: empty(decided[w]) -> break
           od;
           t = 0; outcome = COMMITTED
       }

    /* -- A crash: memory is lost, and replies that had not left never leave. -- */
    :: atomic { faults > 0 && TURBULENT ->
           faults--;
           d_step {
               do
               :: t < drawn -> if :: worker_of[t] == w -> transaction[t] = GONE :: else fi; t++
               :: else -> break
               od;
               do :: nempty(batch[w]) -> batch[w] ? t :: empty(batch[w]) -> break od;
               do :: nempty(decided[w]) -> decided[w] ? t, outcome :: empty(decided[w]) -> break od;
               t = 0; outcome = COMMITTED
           }
           ordinal[w] = (CLOCK -> 0 : last_ordinal)
       }
    od
}

#ifdef SIEGE
proctype Replayer(byte w) {    /* what the server does when one of the attacker's recordings comes */
    byte r, t, o, count, oldest, before;  /* as the server's */
end:
    do
    :: atomic { calm && requests != 0 && empty(decided[w]) ->
           choose(r, requests);
           if :: ANY_HANDLE || fresh[r] < fresh[CURRENT(0)] -> take_request() :: else fi;
           r = 0; t = 0
       }
    od
}
#endif

init {
    byte o;
    atomic {
        run Invariants();
        for (o : 1 .. WORKERS) { run Server(o - 1) }
        for (o : 1 .. DEVICES) { run Client(o - 1) }
#ifdef CALM
        run Weather()
#endif
#ifdef SIEGE
        run Replayer(0)
#endif
    }
}
