// How the threads of a team share out one operation.
#pragma once
#include "atomics.h"

/// The threads that carry out one operation. `ticket` counts the pieces taken; it must be 0 when the operation starts.
struct Team {
  int thread;
  int threads;
  int* ticket;
};

/// Claims the next `units` units of work; what is claimed past the end is nobody's. Claims differ from run to run, results must not.
static inline int claim(Team team, int units) { return count(*team.ticket, units); }
