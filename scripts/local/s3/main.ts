/**
 * The S3 server as a process of its own: `node scripts/local/s3/main.ts '{"folder":…,"port":…,"region":…}'`.
 * Prints one JSON line with its port once it listens. Ends with its parent, whose end of standard input closes.
 */
import { startS3Server } from "./server.ts";

const server = await startS3Server(JSON.parse(process.argv[2] ?? "{}"));
process.stdin.resume().once("end", () => void server.stop().then(() => process.exit(0)));
process.once("SIGTERM", () => void server.stop().then(() => process.exit(0)));
console.log(JSON.stringify({ port: server.port }));
