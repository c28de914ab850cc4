/** Listening on 127.0.0.1, on the port asked for where it is free and on any other where it is not. */

import { type AddressInfo, createServer, type Server } from "node:net";

/** Listens on the port, or on a free one when it is taken (0 asks for a free one); returns the port. */
export async function listen(server: Server, port: number): Promise<number> {
  const attempt = (wanted: number) =>
    new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(wanted, "127.0.0.1", () => {
        server.removeListener("error", reject);
        resolve();
      });
    });
  try {
    await attempt(port);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    await attempt(0);
  }
  return (server.address() as AddressInfo).port;
}

/** The port if it is free, else a free one: for servers that are processes of their own. */
export async function freePort(port: number): Promise<number> {
  const held = await holdPort(port);
  await held.release();
  return held.port;
}

export interface HeldPort {
  readonly port: number;
  /** May be called again. */
  release(): Promise<void>;
}

/** The port if it is free, else a free one; no other caller gets it until it is released. */
export async function holdPort(port: number): Promise<HeldPort> {
  const holder = createServer();
  const held = await listen(holder, port);
  const release = () => new Promise<void>((resolve) => holder.close(() => resolve()));
  return { port: held, release };
}
