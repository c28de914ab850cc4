/** A Postgres with pgvector, in memory, behind a socket: prints its port, and ends with its parent's end of standard input. */
import { PGlite } from "@electric-sql/pglite";
import { vector } from "@electric-sql/pglite-pgvector";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";

const db = await PGlite.create({ extensions: { vector } });
const server = new PGLiteSocketServer({ db, host: "127.0.0.1", port: 0 });
server.addEventListener?.("listening", ({ detail }) => console.log(`port ${detail.port}`));
await server.start();
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
