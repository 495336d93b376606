package io.mpigd;

import java.nio.charset.StandardCharsets;

/** What the library refuses or fails in, with its message. */
public final class MpigdException extends RuntimeException {
    private static final long serialVersionUID = 1L;
    private final int status;

    MpigdException(int status, byte[] message) {
        super(new String(message, StandardCharsets.UTF_8));
        this.status = status;
    }

    /** As mpigd_status of mpigd.h: 2 for an argument that makes no sense, 3 for a file or numbers that are unusable, … */
    public int status() {
        return status;
    }
}
