/**
 * The contract of DeltaQueue, for every implementation. `makeQueue` gives an empty queue; `passVisibility` makes the
 * visibility timeout of received messages run out.
 */
import type { DeltaQueue, QueueMessage } from "../../../lib/engine/ports.ts";

export interface QueueUnderTest {
  readonly queue: DeltaQueue;
  /** Returns once these messages, as far as they were not deleted, may be received again. */
  readonly passVisibility: (received: readonly QueueMessage[]) => Promise<void>;
  readonly deadLetters: () => Promise<{ body: string; reason: string }[]>;
}

const receivesMax = 40;

export function deltaQueueContract(name: string, makeQueue: () => Promise<QueueUnderTest>): void {
  describe(`delta queue contract: ${name}`, () => {
    let queue: DeltaQueue;
    let made: QueueUnderTest;
    beforeEach(async () => {
      made = await makeQueue();
      queue = made.queue;
    });

    /** Receives until `count` messages came, or nothing did three times in a row (SQS may answer with a part). */
    const drain = async (count: number): Promise<QueueMessage[]> => {
      const messages: QueueMessage[] = [];
      let empty = 0;
      for (let i = 0; i < receivesMax && messages.length < count && empty < 3; i++) {
        const received = await queue.receive();
        expect(received.length).toBeLessThanOrEqual(10);
        empty = received.length === 0 ? empty + 1 : 0;
        messages.push(...received);
      }
      return messages;
    };
    const bodies = (messages: readonly QueueMessage[]): string[] => messages.map(({ body }) => body).sort();

    test("an empty queue gives nothing", async () => {
      expect(await queue.receive()).toEqual([]);
    });

    test("every message comes, in batches of at most ten, with its exact body", async () => {
      const sent = Array.from({ length: 23 }, (_, i) => JSON.stringify({ i, text: 'quotes " <&> é\n' }));
      for (const body of sent) await queue.send(body);
      const received = await drain(sent.length);
      expect(bodies(received)).toEqual([...sent].sort());
      expect(new Set(received.map(({ receipt }) => receipt)).size).toBe(sent.length);
    });

    test("a received message is hidden, and comes again when it was not deleted in time", async () => {
      await queue.send("kept");
      await queue.send("deleted");
      const first = await drain(2);
      expect(bodies(first)).toEqual(["deleted", "kept"]);
      expect(await queue.receive()).toEqual([]);
      await queue.delete(first.filter(({ body }) => body === "deleted"));
      await made.passVisibility(first);
      expect(bodies(await drain(1))).toEqual(["kept"]);
      expect(await queue.receive()).toEqual([]);
    });

    test("a message that came again is deleted by its new receipt", async () => {
      await queue.send("again");
      const first = await drain(1);
      expect(first).toHaveLength(1);
      await made.passVisibility(first);
      const second = await drain(1);
      await queue.delete(second);
      await made.passVisibility([...first, ...second]);
      expect(await queue.receive()).toEqual([]);
    });

    test("delete takes no messages, ten, and the same twice; eleven is invalid", async () => {
      for (let i = 0; i < 11; i++) await queue.send(String(i));
      const received = await drain(11);
      await expect(queue.delete(received)).rejects.toMatchObject({ kind: "invalid" });
      await queue.delete([]);
      await queue.delete(received.slice(0, 10));
      await queue.delete(received.slice(1));
      await made.passVisibility(received);
      expect(await queue.receive()).toEqual([]);
    });

    test("a body that fills a message alone becomes a dead letter: its end gives way to the reason", async () => {
      const body = "é".repeat(512 * 1024);
      await queue.send(body);
      const [message] = await drain(1);
      await queue.deadLetter(message!, "x".repeat(5_000));
      const [letter] = await made.deadLetters();
      expect(body.startsWith(letter!.body)).toBe(true);
      expect(Buffer.byteLength(letter!.body)).toBeGreaterThan(1_000_000);
    });

    test("a dead letter carries the body and the reason", async () => {
      await queue.send("not json");
      const [message] = await drain(1);
      await queue.deadLetter(message!, "body: not JSON at position 0\u0001 …");
      await queue.delete([message!]);
      expect(await made.deadLetters()).toEqual([
        { body: "not json", reason: expect.stringContaining("body: not JSON at position 0") },
      ]);
    });
  });
}
