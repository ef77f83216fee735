#include "base/signals.h"

#include <signal.h>

#include <initializer_list>

namespace ckv {
namespace {

volatile sig_atomic_t pending_signal = 0;

extern "C" void NoteSignal(int signal_number) { pending_signal = signal_number; }

}  // namespace

void WatchSignals() {
  pending_signal = 0;
  struct sigaction action {};
  action.sa_handler = NoteSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | SA_RESETHAND;
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) sigaction(number, &action, nullptr);
}

int PendingSignal() { return pending_signal; }

const char* SignalName(int signal_number) {
  switch (signal_number) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGUSR1:
      return "SIGUSR1";
    default:
      return "a signal";
  }
}

}  // namespace ckv
