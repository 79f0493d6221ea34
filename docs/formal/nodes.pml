/*
 * Nodes that share a database which is elsewhere: a device registers anew and anew, over a network that loses, repeats,
 * reorders and delays; each node gives its commits to the primary, which must have them acknowledged by a standby. An
 * answer that does not come leaves the outcome unknown: the commit never came, is done, or will be done, perhaps when
 * nobody waits for it any more. The standby turns silent; then it is back, or becomes the primary; or the primary
 * starts anew meanwhile, and shows what it has made and the standby has not. An operator ends sessions, and revokes the
 * device. For Spin 6.5. README.md explains the model and its limits.
 *
 * Cryptography and CoAP are left out: any message that was ever sent may come at any time, to any node.
 */

/* Bounds of the exploration; each may be set with -D. */
#ifndef REQUESTS
#define REQUESTS     3    /* of the device, one after the other */
#endif
#ifndef NODES
#define NODES        2
#endif
#ifndef FAULTS
#define FAULTS       3    /* silences, crashes of a node, lost answers, and acts of operators, together */
#endif

/* Sets of requests, as bits. */
#define HAS(set, n)     ((set >> (n)) & 1)
#define ADD(set, n)     set = set | (1 << (n))
#define REMOVE(set, n)  set = set & (255 - (1 << (n)))

inline choose(n, set) {    /* n, which is 0, becomes any member of a set that is not empty */
    do
    :: HAS(set, n) -> break
    :: (set >> (n + 1)) != 0 -> n++
    od
}

/* What must hold is named, and a violation is reported under its name. */
#define VIOLATED(name)            name = false; assert(name)
#define REQUIRE(name, condition)  if :: (condition) :: else -> VIOLATED(name) fi

byte faults = FAULTS;                      /* that may still happen */

/* ---- What must hold ---- */

bool a_confirm_means_durable = true;       /* it leaves only when its session is, or was, what the standby has */
bool the_registered_have_their_row = true; /* unless an operator has ended the session */
bool the_newer_wins = true;                /* a row never gives way to an older registration */
bool what_has_ended_never_returns = true;
bool the_revoked_have_nothing = true;

/* ---- The network and the device ---- */

byte asked;                                /* REQUESTs that were sent, in order: 0 to asked - 1 */
byte responded;                            /* by REQUEST: it has a RESPONSE, whose SUCCESS may come */
byte confirms;                             /* CONFIRM with status ok, by REQUEST */
#define NONE  REQUESTS
byte registered = NONE;                    /* the REQUEST by which the device is REGISTERED */

/* ---- The database ---- */

byte numbers;                              /* given out: the sequence */
byte row = NONE;                           /* what the standby has: the session, by its REQUEST */
byte row_ordinal;                          /* of that session or of the last one; 0: none */
bool revoked;
byte ever, ended;                          /* sessions that were durable; and that an operator has ended */
bool silent;                               /* the standby acknowledges nothing */
byte hanging;                              /* commits that were given, and may take effect */
byte unrevoked;                            /* of these: the device was not revoked when they were given */
bool anew;                                 /* the primary has started anew, and shows what hangs */
byte shown = NONE;                         /* the session that it shows then */
byte ordinal[REQUESTS];                    /* 1 + that of the registration; 0: none yet */

/* ---- The nodes: server/dpe_server/registration/registrar.py, handling/batching.py ---- */

mtype:phase = { FREE, GIVEN, UNKNOWN, DONE };
mtype:phase phase[NODES] = FREE;           /* of the one commit that a node is about */
byte about[NODES];                         /* its REQUEST */
bool heard[NODES];                         /* the primary has said that it is done */
byte pending[NODES];                       /* REQUESTs that it has answered; SUCCESS may come */
bool connected[NODES] = true;              /* to the primary as it is, by a connection that began with a write */

/* ------------------------------------------------------------------------------------------------------------------ */

inline apply(i) {                          /* store/commit_rules.py: the standby has it now */
    if
    :: row == i -> skip                                              /* the same SUCCESS */
    :: row != i && !revoked && ordinal[i] > row_ordinal ->
        REQUIRE(the_newer_wins, row == NONE || i > row);
        REQUIRE(what_has_ended_never_returns, !HAS(ended, i));
        REQUIRE(the_revoked_have_nothing, !revoked);
        row = i; row_ordinal = ordinal[i];
        ADD(ever, i)
    :: else -> skip                                                  /* revoked, superseded, or ended */
    fi;
    check_registered()
}

inline check_registered() {
    REQUIRE(the_registered_have_their_row, registered == NONE || row == registered || HAS(ended, registered))
}

inline confirm(i) {
    REQUIRE(a_confirm_means_durable, HAS(ever, i));
    ADD(confirms, i)
}

inline give(w, i) {                        /* to whoever is the primary */
    ADD(hanging, i);
    if :: !revoked -> ADD(unrevoked, i) :: else fi;
    phase[w] = GIVEN; about[w] = i; heard[w] = false
}

inline forget(w) { phase[w] = FREE; about[w] = 0; heard[w] = false }

inline connect(w) {                        /* the first thing is a write that the standby acknowledges */
    if
    :: connected[w] || !silent -> connected[w] = true
    :: else
    fi
}

inline new_primary() {                     /* all connections are lost */
    anew = false; shown = NONE;
    for (o : 0 .. NODES - 1) { connected[o] = false }
    o = 0
}

proctype Device() {
end:
    do
    :: atomic { asked < REQUESTS ->        /* also when it is REGISTERED: it registers anew */
           asked++; registered = NONE
       }
    :: atomic { asked > 0 && registered == NONE && HAS(confirms, asked - 1) ->
           registered = asked - 1;
           check_registered()
       }
    od
}

proctype Node(byte w) {
    byte n;                                /* scratch: 0 between the steps */
end:
    do
    /* -- A REQUEST is answered: the look that it needs gives the number, too. -- */
    :: atomic { asked > 0 && !HAS(responded, asked - 1) && !revoked ->
           connect(w);
           if
           :: connected[w] && !silent ->
               numbers++;
               ordinal[asked - 1] = numbers;
               ADD(responded, asked - 1); ADD(pending[w], asked - 1)
           :: else                                                   /* 5.03 */
           fi
       }

    /* -- SUCCESS comes, to this node or to another. -- */
    :: atomic { responded != 0 && phase[w] == FREE ->
           choose(n, responded);
           if
           :: HAS(pending[w], n) -> give(w, n)
           :: else ->                                                /* only the store knows */
               connect(w);
               if
               :: connected[w] && (anew -> shown : row) == n -> confirm(n)
               :: else                                               /* 4.01, or 5.03 */
               fi
           fi;
           n = 0
       }

    /* -- Its commit: told, or not in time. -- */
    :: atomic { phase[w] == GIVEN && heard[w] -> phase[w] = DONE }
    :: atomic { phase[w] == GIVEN && (silent || faults > 0) ->       /* the deadline: the connection is shut */
           if :: !silent -> faults-- :: else fi;
           phase[w] = UNKNOWN; heard[w] = false; connected[w] = false
       }
    :: atomic { phase[w] == UNKNOWN ->
           if
           :: connect(w);
              if
              :: connected[w] -> n = about[w]; give(w, n); n = 0     /* again */
              :: else
              fi
           :: forget(w)                                              /* 5.03, and PENDING as before */
           fi
       }
    :: atomic { phase[w] == DONE ->
           n = about[w];
           if
           :: row == n -> confirm(n); REMOVE(pending[w], n)
           :: else -> REMOVE(pending[w], n)                          /* superseded, ended or revoked */
           fi;
           n = 0; forget(w)
       }

    /* -- The node ends, and begins again. -- */
    :: atomic { faults > 0 -> faults--; forget(w); pending[w] = 0; connected[w] = false }
    od
}

proctype Database() {
    byte n, o;                             /* scratch: 0 between the steps */
end:
    do
    /* -- What was given takes effect, whenever it comes, and is told to whom it may still be told. -- */
    :: atomic { hanging != 0 && !silent ->
           choose(n, hanging);
           apply(n);
           REMOVE(hanging, n); REMOVE(unrevoked, n);
           for (o : 0 .. NODES - 1) {
               if :: phase[o] == GIVEN && about[o] == n -> heard[o] = true :: else fi
           }
           n = 0; o = 0
       }
    :: atomic { hanging != 0 && faults > 0 ->                        /* or it never comes */
           faults--;
           choose(n, hanging);
           REMOVE(hanging, n); REMOVE(unrevoked, n);
           n = 0
       }

    /* -- The standby is silent, and back, or the primary. -- */
    :: atomic { !silent && faults > 0 -> faults--; silent = true }
    :: atomic { silent -> silent = false; anew = false; shown = NONE }
    :: atomic { silent -> silent = false; hanging = 0; unrevoked = 0; new_primary() }
    :: atomic { silent && !anew && hanging != 0 ->                   /* it shows what nobody has acknowledged */
           new_primary();
           choose(n, hanging);
           anew = true;
           shown = (ordinal[n] > row_ordinal && !revoked -> n : row);
           n = 0
       }

    /* -- Operators. Revocation stands in the device's row, which each commit finds as it is by then. -- */
    :: atomic { faults > 0 && row != NONE && !silent -> faults--; ADD(ended, row); row = NONE }
    :: atomic { faults > 0 && !revoked && !silent ->
           faults--;
           revoked = true;
           if :: row != NONE -> ADD(ended, row); row = NONE :: else fi
       }
    od
}

init {
    byte o;
    atomic {
        for (o : 1 .. NODES) { run Node(o - 1) }
        run Device();
        run Database()
    }
}
