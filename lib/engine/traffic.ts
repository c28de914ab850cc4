/**
 * Running counts of what an object store moved. An adapter is given one at construction and reports into it; code
 * that wants the cost of something takes a snapshot before it and asks for the difference after it (a query's provenance,
 * a compactor run's report).
 */

export interface TrafficCount {
  /** Requests sent, every retry and every page or part of its own included. */
  readonly requests: number;
  /** Bytes of object bodies that arrived; headers and listings are not counted. */
  readonly bytesRead: number;
  /** Bytes of object bodies that were sent. */
  readonly bytesWritten: number;
}

export class Traffic implements TrafficCount {
  requests = 0;
  bytesRead = 0;
  bytesWritten = 0;

  request(): void {
    this.requests++;
  }
  read(bytes: number): void {
    this.bytesRead += bytes;
  }
  wrote(bytes: number): void {
    this.bytesWritten += bytes;
  }

  snapshot(): TrafficCount {
    return { requests: this.requests, bytesRead: this.bytesRead, bytesWritten: this.bytesWritten };
  }
  /** What was counted since `before` was taken. Work that ran at the same time is in it too. */
  since(before: TrafficCount): TrafficCount {
    return {
      requests: this.requests - before.requests,
      bytesRead: this.bytesRead - before.bytesRead,
      bytesWritten: this.bytesWritten - before.bytesWritten,
    };
  }
}
