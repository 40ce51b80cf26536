/*
 * poison.h: memory that is kept, and not in use now. AddressSanitizer is told, where it watches, so
 * that a touch is found; elsewhere this is nothing.
 */
#ifndef ASSENT_BASE_POISON_H
#define ASSENT_BASE_POISON_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASSENT_WATCHED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ASSENT_WATCHED 1
#endif

#ifdef ASSENT_WATCHED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#endif
