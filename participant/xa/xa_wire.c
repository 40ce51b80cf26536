/* xa_wire.c: whole frames over a socket, and XIDs: see xa_wire.h. */
#include "xa_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FORMAT_ID    0x41534e54L /* "ASNT" */
#define WORD         "assent"
#define WORD_BYTES   6u
#define GTRID_BYTES  (ASSENT_LOG_ID_BYTES + ASSENT_GTRID_BYTES)
#define NUMBER_BYTES (ASSENT_BRANCH_ID_BYTES - GTRID_BYTES)
#define BQUAL_BYTES  (WORD_BYTES + NUMBER_BYTES)

static int send_part(int fd, const void *part, size_t size, int flags)
{
    const char *bytes = part;

    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | flags);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EPIPE || errno == ECONNRESET ? ASSENT_E_CLOSED : ASSENT_E_IO;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

int xa_send(int fd, const void *head, size_t head_size, const void *body, size_t body_size)
{
    int r = send_part(fd, head, head_size, body_size > 0 ? MSG_MORE : 0);

    return r == 0 ? send_part(fd, body, body_size, 0) : r;
}

int xa_receive(int fd, void *buffer, size_t size)
{
    char *bytes = buffer;

    while (size > 0) {
        ssize_t n = recv(fd, bytes, size, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == ECONNRESET ? ASSENT_E_CLOSED : ASSENT_E_IO;
        if (n == 0)
            return ASSENT_E_CLOSED;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

void xa_xid_make(const struct assent_branch_id *id, XID *ret_xid)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];

    assent_branch_id_encode(id, name);
    memset(ret_xid, 0, sizeof(*ret_xid));
    ret_xid->formatID = FORMAT_ID;
    ret_xid->gtrid_length = GTRID_BYTES;
    ret_xid->bqual_length = BQUAL_BYTES;
    memcpy(ret_xid->data, name, GTRID_BYTES);
    memcpy(ret_xid->data + GTRID_BYTES, WORD, WORD_BYTES);
    memcpy(ret_xid->data + GTRID_BYTES + WORD_BYTES, name + GTRID_BYTES, NUMBER_BYTES);
}

bool xa_xid_parse(const XID *xid, bool any_header, struct assent_branch_id *ret_id)
{
    uint8_t name[ASSENT_BRANCH_ID_BYTES];
    size_t compared = any_header ? sizeof(xid->data) : GTRID_BYTES + BQUAL_BYTES;
    struct assent_branch_id id;
    XID same;

    memcpy(name, xid->data, GTRID_BYTES);
    memcpy(name + GTRID_BYTES, xid->data + GTRID_BYTES + WORD_BYTES, NUMBER_BYTES);
    assent_branch_id_decode(name, &id);
    xa_xid_make(&id, &same);
    if (!any_header && (xid->formatID != same.formatID || xid->gtrid_length != same.gtrid_length ||
                        xid->bqual_length != same.bqual_length))
        return false;
    /* What follows bqual means nothing to XA, unless data has to speak for itself. */
    if (memcmp(xid->data, same.data, compared) != 0)
        return false;
    *ret_id = id;
    return true;
}

bool xa_xid_zeroed(const XID *xid)
{
    return xid->formatID == 0 && xid->gtrid_length == 0 && xid->bqual_length == 0;
}
