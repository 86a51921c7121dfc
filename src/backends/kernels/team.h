// How the threads of a team share out one operation.
#pragma once
#include "matmul.h"

/// Claims the next `count` units of work; what is claimed past the end is nobody's. Claims differ from run to run, results must not.
static inline int claim(Team team, int count) { return __atomic_fetch_add(team.ticket, count, __ATOMIC_RELAXED); }
