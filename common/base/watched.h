/* watched.h: ASSENT_WATCHED is defined where AddressSanitizer watches, of gcc and of clang. */
#ifndef ASSENT_BASE_WATCHED_H
#define ASSENT_BASE_WATCHED_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASSENT_WATCHED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ASSENT_WATCHED 1
#endif

#endif
