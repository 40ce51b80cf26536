/* codec_sample.h: one valid message of each kind with every field set, for the codec's tests. */
#ifndef ASSENT_CODEC_SAMPLE_H
#define ASSENT_CODEC_SAMPLE_H

#include "codec.h"

void sample(enum assent_wire_kind kind, struct assent_wire *wire);
struct assent_bytes bytes_of(const char *text);

#endif
