/* check.h: assertions of the pure core. They stay on in release builds and need no library. */
#ifndef ASSENT_COMMIT_CHECK_H
#define ASSENT_COMMIT_CHECK_H

#define CORE_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            __builtin_trap();                                                                      \
    } while (0)

#endif
