// SIGINT, SIGTERM and SIGUSR1 (Slurm's warning) as a request that the main loop looks at.
#pragma once

namespace ckv {

// From now on the first such signal is only noted; a second one of the same kind ends the process.
void WatchSignals();

// The signal that came since WatchSignals; 0 = none.
int PendingSignal();

// "SIGTERM" for 15, ...
const char* SignalName(int signal_number);

}  // namespace ckv
