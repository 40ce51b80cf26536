/* operate.c: orders by hand: who gives them, and why. */
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "ctl.h"

static void name_user(char *who, size_t size)
{
    const struct passwd *user = getpwuid(getuid());
    char host[64] = "?";

    if (gethostname(host, sizeof(host) - 1) != 0)
        snprintf(host, sizeof(host), "?");
    snprintf(who, size, "%.30s@%.30s", user ? user->pw_name : "?", host);
}

int ctl_operate(struct ctl *ctl, const struct ctl_args *args, enum assent_action action,
                const struct assent_gtrid *gtrid, bool force, struct assent_result *ret_result)
{
    const char *reason = ctl_given(args, "reason"), *who = ctl_given(args, "who");
    char user[ASSENT_NAME_MAX + 1];
    int code, error;

    if (!reason[0]) {
        ctl_error(ctl, "--reason must say why");
        return CTL_EXIT_USAGE;
    }
    code = ctl_connect(ctl);
    if (code)
        return code;
    name_user(user, sizeof(user));
    error = assent_client_operate(ctl->client, action, gtrid, who ? who : user, reason, force,
                                  ret_result);
    if (error == 0)
        return CTL_EXIT_OK;
    code = ctl_failed(ctl, assent_action_name((int)action), error);
    return error == ASSENT_E_REFUSED ? CTL_EXIT_FORCE : code;
}
