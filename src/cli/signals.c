/* Signals become a flag, at which jobs look. */
#include "cli/cli.h"

#include <signal.h>

volatile int interrupted;
volatile int may_be_killed;

/* Whoever waits for the program shall see that the signal ended it. */
void end_by_signal(int number)
{
    struct sigaction action = { .sa_handler = SIG_DFL };
    sigset_t set;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

/* A factorization of LAPACK looks at no flag, and may take seconds; nothing is written meanwhile that would stay behind. */
static void on_signal(int number)
{
    interrupted = number;
    if (may_be_killed) end_by_signal(number);
}

void catch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction old, action = { .sa_handler = on_signal };
        sigemptyset(&action.sa_mask);
        /* Ignored from the start, as under nohup, stays ignored. */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(numbers[i], &action, NULL);
    }
    /* A closed pipe and a file that may not grow are errors of write(), and so messages. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}
