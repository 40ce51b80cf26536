/*
 * main.c: the program assent-agent: settings, signals, exit codes. The participant itself is the
 * library's (assent/participant.h).
 *
 * Signals are waited for by one thread: TERM and INT stop (a second one ends the process at once),
 * HUP reads the settings again.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crash_point.h"
#include "options.h"

struct signals {
    int argc;
    char **argv;
    const struct agent_program_options *options;
    sigset_t set;
    pthread_mutex_t mutex;
    struct assent_participant *participant; /* NULL: gone; under the mutex */
};

static void note_changed(const char *key, void *context)
{
    (void)context;
    if (strcmp(key, "log_level") == 0 || strcmp(key, "log_format") == 0)
        assent_log(ASSENT_LOG_INFO, "reloaded", "key=%s", key);
    else
        assent_log(ASSENT_LOG_WARN, "restart_needed", "key=%s", key);
}

/* Only the log's level and format change in a running agent. */
static void reload(const struct signals *signals)
{
    struct agent_program_options fresh;
    int error;

    memset(&fresh, 0, sizeof(fresh));
    error = assent_config_reload(&agent_program, signals->argc, signals->argv, &fresh);
    if (error == 0 && agent_options_problem(&fresh)) {
        assent_log(ASSENT_LOG_ERROR, "reload_refused", "why=%s",
                   assent_log_quote(agent_options_problem(&fresh)));
    } else if (error == 0) {
        agent_options_setup_log(&fresh);
        assent_config_diff(&agent_program, signals->options, &fresh, note_changed, NULL);
    }
    agent_options_fini(&fresh);
}

static void *serve_signals(void *argument)
{
    struct signals *signals = argument;
    bool stopping = false;
    int number;

    while (sigwait(&signals->set, &number) == 0) {
        if (number == SIGHUP) {
            reload(signals);
            continue;
        }
        if (stopping)
            _exit(ASSENT_EXIT_RUNTIME);
        stopping = true;
        pthread_mutex_lock(&signals->mutex);
        if (signals->participant)
            assent_participant_stop(signals->participant);
        pthread_mutex_unlock(&signals->mutex);
    }
    return NULL;
}

static int exit_code(int error)
{
    switch (error) {
    case ASSENT_E_INVALID:
    case ASSENT_E_CONFIG:
        return ASSENT_EXIT_USAGE;
    case ASSENT_E_LOCKED:
    case ASSENT_E_VERSION:
    case ASSENT_E_CORRUPT:
    case ASSENT_E_REFUSED:
        return ASSENT_EXIT_DATA;
    default:
        return ASSENT_EXIT_RUNTIME;
    }
}

static int serve(const struct assent_participant_options *participant_options,
                 struct signals *signals)
{
    struct assent_participant *participant;
    char error_text[512] = "";
    pthread_t thread;
    int error;

    /* Before any thread starts, so that all of them leave the signals to ours. */
    sigemptyset(&signals->set);
    sigaddset(&signals->set, SIGTERM);
    sigaddset(&signals->set, SIGINT);
    sigaddset(&signals->set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
    signal(SIGPIPE, SIG_IGN);

    error =
        assent_participant_new(participant_options, &participant, error_text, sizeof(error_text));
    if (error) {
        fprintf(stderr, "assent-agent: %s\n", error_text);
        return exit_code(error);
    }
    pthread_mutex_init(&signals->mutex, NULL);
    signals->participant = participant;
    if (pthread_create(&thread, NULL, serve_signals, signals)) {
        fprintf(stderr, "assent-agent: cannot start a thread\n");
        assent_participant_free(participant);
        return ASSENT_EXIT_RUNTIME;
    }
    error = assent_participant_run(participant);
    pthread_mutex_lock(&signals->mutex);
    signals->participant = NULL;
    pthread_mutex_unlock(&signals->mutex);
    if (error == ASSENT_E_TIMEOUT) {
        /* As after kill -9: what is prepared stays, and the next start takes it up. */
        assent_log(ASSENT_LOG_WARN, "stop_incomplete", "why=%s",
                   assent_log_quote("a call to a resource has not returned"));
        _exit(ASSENT_EXIT_OK);
    }
    assent_participant_free(participant);
    pthread_cancel(thread); /* sigwait is a cancellation point */
    pthread_join(thread, NULL);
    if (error)
        fprintf(stderr, "assent-agent: %s\n", assent_error_text(error));
    return error ? exit_code(error) : ASSENT_EXIT_OK;
}

static int arm_crash(const char *spec)
{
    if (strcmp(spec, "list") == 0) {
        for (int i = ASSENT_CRASH_AGENT_FIRST; i < ASSENT_CRASH_COUNT; i++)
            printf("%s\n", assent_crash_name(i));
        return ASSENT_CONFIG_EXIT;
    }
    if (spec[0] && assent_crash_arm(spec, ASSENT_CRASH_AGENT_FIRST, ASSENT_CRASH_COUNT)) {
        fprintf(stderr, "assent-agent: --crash-at %s: no such point, or a build without them\n",
                spec);
        return ASSENT_CONFIG_BAD;
    }
    return ASSENT_CONFIG_RUN;
}

int main(int argc, char **argv)
{
    struct agent_program_options options;
    struct agent_options_parts parts;
    struct assent_participant_options participant_options;
    struct signals signals = {.argc = argc, .argv = argv, .options = &options};
    char error_text[256];
    int code = ASSENT_EXIT_OK;
    int verdict;

    assent_heap_keep();
    memset(&options, 0, sizeof(options));
    verdict = assent_config_load(&agent_program, argc, argv, &options);
    if (verdict == ASSENT_CONFIG_RUN && agent_options_problem(&options)) {
        fprintf(stderr, "assent-agent: %s\n", agent_options_problem(&options));
        verdict = ASSENT_CONFIG_BAD;
    }
    if (verdict == ASSENT_CONFIG_RUN)
        verdict = arm_crash(options.crash_at);
    if (verdict == ASSENT_CONFIG_RUN) {
        agent_options_setup_log(&options);
        if (agent_options_participant(&options, &parts, &participant_options, error_text,
                                      sizeof(error_text))) {
            fprintf(stderr, "assent-agent: %s\n", error_text);
            verdict = ASSENT_CONFIG_BAD;
        } else {
            code = serve(&participant_options, &signals);
        }
        agent_options_parts_free(&parts);
    }
    agent_options_fini(&options);
    return verdict == ASSENT_CONFIG_BAD ? ASSENT_EXIT_USAGE : code;
}
