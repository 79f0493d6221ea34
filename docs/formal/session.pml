/*
 * The DPE session: a device that reports under sequence numbers, and a server that accepts each once, over a network
 * that loses, repeats, reorders and delays messages, under an attacker who replays what was ever sent and forges
 * errors, with crashes of the server at every point around its commit, commits of which nobody knows whether they were
 * durable, reboots of the device, failures of its storage, and sessions that end. For Spin 6.5. README.md explains the
 * model and its limits; tests/formal runs it and compares its transitions with the table in the code.
 *
 * Cryptography is perfect here: a request is its number, and only the device brings a new one into the network; the
 * keys of a session open nothing of another. Numbers are those of the boot counter, which rises over all sessions.
 */

/* Bounds of the exploration; each may be set with -D. */
#ifndef NUMBERS
#define NUMBERS      4    /* that the device may use; the code has 2^40 */
#endif
#ifndef BLOCK
#define BLOCK        2    /* numbers that are taken by one save; the code has 256 */
#endif
#ifndef SESSIONS
#define SESSIONS     2    /* of the device, one after the other */
#endif
#ifndef WORKERS
#define WORKERS      1    /* processes of the server, on one database */
#endif
#ifndef FAULTS
#define FAULTS       2    /* crashes, reboots, failed saves, unknown commits and ends by an operator, together */
#endif
#ifndef PATIENCE
#define PATIENCE     2    /* 4.01 that a device bears in a row, as in the code; after a boot none */
#endif
#ifndef EXCHANGES
#define EXCHANGES    3    /* to end a session, as in the code */
#endif
#ifndef RESERVE
#define RESERVE      0    /* with CALM: numbers that are kept for that time */
#endif

/* Sets of numbers below 8, as bits. */
#define HAS(set, n)     ((set >> (n)) & 1)
#define ADD(set, n)     set = set | (1 << (n))

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

byte faults = FAULTS;                      /* that may still happen */

/* ---- The network: every message that was ever sent. Any of them may come, at any time and any number of times. An
   error that is not protected may come at any time too, as anybody can make one. ---- */

byte requests, answers;                    /* by number */
byte successes, confirms;                  /* by session: SUCCESS, and CONFIRM with status ok */

/* What a number is used for; it never changes once the number is used. */
byte session_of[NUMBERS];
byte ending;                               /* numbers of requests that end the session; the others report */
#define PROPERTY(n)  ((n) & 1)             /* the one that a report sets, to a value of its own */

/* ---- The DPE Client: device/dpe_device/session.py ---- */

mtype:device = { REQUESTING, CONFIRMING, READY, REPORTING, ENDING, BACKOFF, IDLE };
mtype:device device = REQUESTING;
byte next, limit;                          /* in memory: the next number, and the first that no save has taken */
byte current;                              /* the number of the last request, from REPORTING or ENDING on */
byte begun;                                /* sessions of which a RESPONSE has come */
bool open;                                 /* whether an answer to `current` still counts */
bool usable;                               /* whether the session is confirmed */
byte refusals = PATIENCE;                  /* 4.01 in a row, one for each exchange */
bool counted;                              /* whether this exchange has had its own */
bool wish;                                 /* whether the session is to end */
byte tries;                                /* exchanges left for that */

#define NONE  SESSIONS
typedef Record { byte session = NONE; byte next; bool confirmed; bool ends };
Record saved;                              /* one record: it survives a reboot */
byte session = NONE;                       /* in memory */

/* ---- The DPE Server: server/dpe_server/session/sessions.py, store/commit_rules.py ---- */

byte row_session = NONE;                   /* on disk: the device's session; NONE: the row is a trace, or not there */
byte row_ordinal;                          /* of that session or of the last one: 1 + its number; 0: there is no row */
byte mark;                                 /* 1 + the highest number that was accepted; 0: none */
byte attempt;                              /* of the process that raised the mark */
byte held[2];                              /* by property: 1 + the number of the report that set it; 0: none */

mtype:phase = { FREE, READ, COMMITTED };
mtype:phase phase[WORKERS] = FREE;         /* of the one request that a worker is about */
byte asked[WORKERS];                       /* its number */
byte drawn[WORKERS];                       /* the attempt that was drawn for it */
byte lives[WORKERS];                       /* of the process */
byte remembered[WORKERS];                  /* 1 + the number whose answer is remembered; 0: none */
#define ATTEMPT(w)  ((w) * (FAULTS + 1) + lives[w] + 1)

byte alive;                                /* transactions, by session: SUCCESS can establish it */

/* ---- What must hold ---- */

bool a_number_is_used_once = true;         /* by the device: one plaintext under one nonce */
bool what_is_sent_was_saved = true;        /* a number is used only after a save has taken it */
bool an_answer_is_made_once = true;        /* by all workers: one plaintext under one nonce */
bool an_answer_means_durable = true;       /* it leaves only once its request has been accepted on disk */
bool a_request_is_accepted_once = true;    /* by all workers together */
bool the_mark_never_falls = true;
bool the_record_is_what_was_sent_last = true;  /* each property as the last accepted report of it says */
bool what_has_ended_never_returns = true;  /* the keys of a session that is over are never live again */
bool the_device_believes_the_server = true;  /* a device goes on after an answer only if its request was accepted */

byte used, made, accepted, over;           /* numbers that were used, answered, accepted; sessions that have ended */
byte highest[SESSIONS];                    /* marks */

/* ---- When it ends. With CALM, from some moment on the network delivers and nothing fails any more: a message goes to
   the server once, its answer to the device once, and the time-out comes when neither is under way. The device must
   then be READY again and again, or have ended its session. RESERVE numbers, and a session, are kept for that time.

   Then the attacker forges an error before each answer, and with SIEGE it also sends any request that was ever sent, at
   any time and for ever. It stops nothing, and a back-off takes longer than a round trip. ---- */

#ifdef CALM
bool calm;
mtype:mail = { NOTHING, TO_SERVER, TO_DEVICE };
mtype:mail mail = NOTHING;
#define TURBULENT         (!calm)
#define MAY_USE           (next < (calm -> NUMBERS : NUMBERS - RESERVE))
#define MAY_BEGIN         (begun < (calm -> SESSIONS : SESSIONS - 1))
#define DEVICE_SENDS      if :: calm -> mail = TO_SERVER :: else fi
#define SERVER_HEARS      (!calm || mail == TO_SERVER)
#define SERVER_ANSWERS(it)  if :: calm && mail == TO_SERVER && (it) -> mail = TO_DEVICE :: else fi
#define DEVICE_HEARS      (!calm || mail == TO_DEVICE)
#define DEVICE_HEARD      mail = NOTHING
#define REFUSED(answered) (!calm || (mail == TO_DEVICE && !(answered)))
#define TIME_OUT          (!calm || mail == NOTHING)
#define CHOOSE(n, set, now)  if :: calm -> n = now :: else -> choose(n, set) fi
proctype Weather() { calm = true }
ltl the_device_reports_again { [] (calm -> <> (device == READY || device == IDLE)) }
#else
#define TURBULENT         true
#define MAY_USE           (next < NUMBERS)
#define MAY_BEGIN         (begun < SESSIONS)
#define DEVICE_SENDS      skip
#define SERVER_HEARS      true
#define SERVER_ANSWERS(it)  skip
#define DEVICE_HEARS      true
#define DEVICE_HEARD      skip
#define REFUSED(answered) true
#define TIME_OUT          true
#define CHOOSE(n, set, now)  choose(n, set)
#endif

/* ------------------------------------------------------------------------------------------------------------------ */

#define SAVED(its, first, is_confirmed, is_wished) \
    saved.session = its; saved.next = first; saved.confirmed = is_confirmed; saved.ends = is_wished

inline save(its, first, is_confirmed, is_wished) {
    if
    :: SAVED(its, first, is_confirmed, is_wished); done = true
    :: faults > 0 && TURBULENT -> faults--; done = false                     /* the old record is still there */
    :: faults > 0 && TURBULENT -> faults--; done = false;                    /* or the new one after all */
       SAVED(its, first, is_confirmed, is_wished)
    fi
}

inline take_number() {             /* done: there is one */
    if
    :: next < limit -> done = true
    :: next == limit ->
        save(session, next + BLOCK, usable, wish);
        if :: done -> limit = next + BLOCK :: else fi
    fi
}

inline take_number_to_end() {      /* the wish is saved first */
    wish = true;
    if
    :: next < limit && !saved.ends -> save(session, limit, usable, true)
    :: else -> take_number()
    fi
}

inline send() {                    /* encrypts; a retransmission repeats the datagram */
    current = next;
    next++;
    REQUIRE(a_number_is_used_once, !HAS(used, current));
    REQUIRE(what_is_sent_was_saved, current < saved.next);
    ADD(used, current);
    ADD(requests, current);
    session_of[current] = session;
    if :: wish -> ADD(ending, current) :: else fi;
    open = true; counted = false;
    done = false;
    DEVICE_SENDS
}

inline erase() {
    save(NONE, limit, false, false);
    session = NONE; usable = false; wish = false; tries = 0; open = false; refusals = PATIENCE; done = false
}

inline refuse() { refusals++; counted = true }    /* 4.01 */

inline believe() {
    REQUIRE(the_device_believes_the_server, HAS(accepted, current));
    refusals = 0; open = false; DEVICE_HEARD
}

proctype Device() {
    bool done;                     /* scratch: false between the steps */
end:
    do
    /* a registration in short: a RESPONSE has come. SUCCESS leaves once it is saved. The old session stays so long */
    :: atomic { device == REQUESTING && MAY_BEGIN ->
           ADD(alive, begun);
           save(begun, limit, false, false);
           if
           :: done ->
               session = begun; usable = false; wish = false; tries = 0;
               ADD(successes, begun);
               MOVE(device, REQUESTING, accepted, CONFIRMING);
               DEVICE_SENDS
           :: else -> MOVE(device, REQUESTING, failed, BACKOFF)
           fi;
           begun++; open = false; done = false
       }
    :: atomic { device == CONFIRMING && HAS(confirms, session) && DEVICE_HEARS ->
           usable = true;
           save(session, limit, true, wish);        /* if this fails, the next boot repeats SUCCESS */
           refusals = (refusals > PATIENCE -> PATIENCE : refusals);
           MOVE(device, CONFIRMING, confirmed, READY);
           done = false; DEVICE_HEARD
       }
    :: atomic { device == CONFIRMING && REFUSED(HAS(confirms, session)) ->
           MOVE(device, CONFIRMING, failed, BACKOFF); DEVICE_HEARD
       }
    :: atomic { device == BACKOFF && !usable && TIME_OUT -> MOVE(device, BACKOFF, step, REQUESTING) }
    :: atomic { device == IDLE && MAY_BEGIN && TURBULENT -> MOVE(device, IDLE, step, REQUESTING) }

    /* a report, or a refresh */
    :: atomic { device == READY && !wish && MAY_USE ->
           take_number();
           if
           :: done -> MOVE(device, READY, step, REPORTING); send()
           :: else -> MOVE(device, READY, failed, BACKOFF)
           fi
       }
    :: atomic { device == BACKOFF && usable && !wish && refusals <= PATIENCE && MAY_USE && TIME_OUT ->
           take_number();
           if :: done -> MOVE(device, BACKOFF, step, REPORTING); send() :: else fi
       }

    /* the application deregisters, or has done so before a reboot */
    :: atomic { device == READY && MAY_USE && (wish || TURBULENT) ->
           tries = EXCHANGES;
           take_number_to_end();
           if
           :: done -> MOVE(device, READY, ending, ENDING); send()
           :: else -> MOVE(device, READY, failed, BACKOFF)
           fi
       }
    :: atomic { device == BACKOFF && usable && wish && tries > 0 && MAY_USE && TIME_OUT ->
           take_number_to_end();
           if :: done -> MOVE(device, BACKOFF, ending, ENDING); send() :: else fi
       }
    :: atomic { device == BACKOFF && usable && wish && tries == 0 && TIME_OUT ->
           MOVE(device, BACKOFF, over, IDLE); erase()
       }

    /* no answer, a reset, or an error that is not protected, of anybody. What comes later still counts. */
    :: atomic { device == REPORTING -> MOVE(device, REPORTING, failed, BACKOFF) }
    :: atomic { device == REPORTING -> MOVE(device, REPORTING, failed, BACKOFF); refuse() }
    :: atomic { device == BACKOFF && open && !wish && !counted && REFUSED(HAS(answers, current)) ->
           refuse(); DEVICE_HEARD
       }
    :: atomic { device == ENDING -> MOVE(device, ENDING, failed, BACKOFF); tries-- }
    :: atomic { device == BACKOFF && usable && !wish && refusals > PATIENCE && TIME_OUT ->
           MOVE(device, BACKOFF, unknown, REQUESTING)
       }

    /* a protected answer */
    :: atomic { device == REPORTING && HAS(answers, current) && DEVICE_HEARS ->
           MOVE(device, REPORTING, answered, READY); believe()
       }
    :: atomic { device == BACKOFF && open && !wish && HAS(answers, current) && DEVICE_HEARS ->
           MOVE(device, BACKOFF, answered, READY); believe()
       }
    :: atomic { device == ENDING && HAS(answers, current) && DEVICE_HEARS ->
           MOVE(device, ENDING, answered, IDLE); believe(); erase()
       }
    :: atomic { device == BACKOFF && open && wish && HAS(answers, current) && HAS(ending, current) && DEVICE_HEARS ->
           MOVE(device, BACKOFF, over, IDLE); believe(); erase()
       }
#ifdef CALM
    :: atomic { calm && device == CONFIRMING && mail == NOTHING ->
           MOVE(device, CONFIRMING, repeated, CONFIRMING); DEVICE_SENDS
       }
    :: atomic { calm && device == BACKOFF && mail == TO_DEVICE && !HAS(answers, current) && (wish || counted) ->
           DEVICE_HEARD
       }
#endif

    /* a reboot */
    :: atomic { faults > 0 && TURBULENT ->
           faults--;
           session = saved.session; usable = saved.confirmed; wish = saved.ends;
           tries = (wish -> EXCHANGES : 0);
           next = saved.next; limit = next;
           refusals = PATIENCE; open = false;
           if
           :: session == NONE -> device = REQUESTING
           :: session != NONE && !usable -> device = CONFIRMING; ADD(successes, session)
           :: session != NONE && usable -> device = READY
           fi
       }
    od
}

/* ------------------------------------------------------------------------------------------------------------------ */

inline end_session() {             /* the row keeps its ordinal */
    ADD(over, row_session);
    row_session = NONE; mark = 0; attempt = 0; held[0] = 0; held[1] = 0
}

#define IN_SESSION(n)   (row_session != NONE && row_ordinal == session_of[n] + 1)
#define OPENS(n)        (row_session == session_of[n])    /* the keys that the row has have made the request */
#define NOT_BELOW(n)    (mark > (n))
#define OF_DEVICE(n)    (device != CONFIRMING && (n) == current)    /* with CALM: what the device waits for */

inline look() {                    /* sets phase; a request that is refused gets 4.01 */
    if
    :: OPENS(n) && !NOT_BELOW(n) ->
        phase[w] = READ; asked[w] = n; drawn[w] = ATTEMPT(w);
        seen[0] = held[0]; seen[1] = held[1]
    :: else
    fi
}

inline check_record() {            /* each property is as the last accepted report of this session says */
    o = NUMBERS; p[0] = 0; p[1] = 0;
    do
    :: o == 0 -> break
    :: else ->
        o--;
        if
        :: HAS(accepted, o) && session_of[o] == row_session && p[PROPERTY(o)] == 0 -> p[PROPERTY(o)] = o + 1
        :: else
        fi
    od;
    REQUIRE(the_record_is_what_was_sent_last, p[0] == held[0] && p[1] == held[1]);
    p[0] = 0; p[1] = 0
}

inline accept() {                  /* store/commit_rules.py: sets phase */
    n = asked[w];
    if
    :: IN_SESSION(n) && (!NOT_BELOW(n) || (mark == n + 1 && attempt == drawn[w])) ->
        REQUIRE(the_mark_never_falls, mark >= highest[row_session]);
        REQUIRE(a_request_is_accepted_once, !HAS(accepted, n) || (mark == n + 1 && attempt == drawn[w]));
        ADD(accepted, n);
        if
        :: HAS(ending, n) -> end_session()
        :: else ->
            mark = n + 1; attempt = drawn[w];
            highest[row_session] = mark;
            held[PROPERTY(n)] = n + 1;
            check_record()
        fi;
        phase[w] = COMMITTED
    :: else -> phase[w] = FREE
    fi;
    n = 0
}

inline protect() {
    REQUIRE(an_answer_means_durable, HAS(accepted, asked[w]));
    REQUIRE(an_answer_is_made_once, !HAS(made, asked[w]));
    ADD(made, asked[w]);
    ADD(answers, asked[w]);
    remembered[w] = asked[w] + 1
}

inline free() { phase[w] = FREE; asked[w] = 0; drawn[w] = 0; seen[0] = 0; seen[1] = 0 }

inline establish() {               /* SUCCESS of session n */
    if
    :: row_session == n -> ADD(confirms, n)
    :: row_session != n && HAS(alive, n) && row_ordinal < n + 1 ->
        if :: row_session != NONE -> end_session() :: else fi;
        REQUIRE(what_has_ended_never_returns, !HAS(over, n));
        row_session = n; row_ordinal = n + 1;
        ADD(confirms, n)
    :: else                        /* a newer one is there, or was; or the transaction is gone: 4.01 */
    fi
}

proctype Server(byte w) {
    byte n, o; byte p[2];          /* scratch: 0 between the steps */
    byte seen[2];                  /* the record as it was read; nothing is made of it */
end:
    do
    /* -- A request is read and decided. A repeat of the last one gets its answer again. -- */
    :: atomic { requests != 0 && phase[w] == FREE && SERVER_HEARS && (TURBULENT || device != CONFIRMING) ->
           CHOOSE(n, requests, current);
           if
           :: remembered[w] == n + 1 -> skip
           :: else -> look()
           fi;
           if :: phase[w] == FREE -> SERVER_ANSWERS(n == current) :: else fi;
           n = 0
       }

    /* -- It is committed. -- */
    :: atomic { phase[w] == READ ->
           d_step { accept() }
           if :: phase[w] == FREE -> SERVER_ANSWERS(OF_DEVICE(asked[w])); free() :: else fi;
           o = 0
       }
    :: atomic { phase[w] == READ && faults > 0 && TURBULENT ->               /* the commit fails, or seems to */
           faults--;
           if
           :: skip
           :: d_step { accept() }
              o = 0
           fi;
           if
           :: phase[w] = READ                                                /* it is tried again */
           :: free()                                                         /* 5.03 */
           fi
       }

    /* -- Only then is the answer protected. -- */
    :: atomic { phase[w] == COMMITTED -> protect(); SERVER_ANSWERS(OF_DEVICE(asked[w])); free() }

    /* -- SUCCESS, at any time; and the end of a transaction's life. -- */
    :: atomic { successes != 0 && SERVER_HEARS && (TURBULENT || device == CONFIRMING) ->
           CHOOSE(n, successes, session);
           establish();
           SERVER_ANSWERS(true);
           n = 0
       }
    :: atomic { alive != 0 && TURBULENT -> choose(n, alive); alive = alive & (255 - (1 << n)); n = 0 }

    /* -- An operator ends the session, or it expires; later the trace goes, when no older SUCCESS can come. -- */
    :: atomic { row_session != NONE && faults > 0 && TURBULENT -> faults--; end_session() }
    :: atomic { row_session == NONE && row_ordinal > 0 && (alive & ((1 << row_ordinal) - 1)) == 0 && TURBULENT ->
           row_ordinal = 0
       }

    /* -- A crash: memory is lost, and an answer that has not left never leaves. -- */
    :: atomic { faults > 0 && TURBULENT -> faults--; free(); remembered[w] = 0; lives[w]++ }
    od
}

#ifdef SIEGE
proctype Replayer(byte w) {        /* what the server does when one of the attacker's recordings comes */
    byte n, o; byte p[2]; byte seen[2];
end:
    do
    :: atomic { calm && requests != 0 && phase[w] == FREE ->
           choose(n, requests);
           if
           :: remembered[w] == n + 1 -> skip
           :: else ->
               look();
               if
               :: phase[w] == READ -> d_step { accept() } if :: phase[w] == COMMITTED -> protect() :: else fi
               :: else
               fi;
               free()
           fi;
           n = 0; o = 0
       }
    od
}
#endif

init {
    byte o;
    atomic {
        for (o : 1 .. WORKERS) { run Server(o - 1) }
        run Device();
#ifdef CALM
        run Weather();
#endif
#ifdef SIEGE
        run Replayer(0)
#endif
    }
}
