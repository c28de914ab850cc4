/** The script of the thread that opens large segments beside the answers; it lies beside the handler's. */
import "../../lib/segment/segment-thread-main.ts";
