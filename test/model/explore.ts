/**
 * An exhaustive explorer: visits every state that can be reached, breadth first, so that the first violation it meets
 * is one of the shortest. States are told apart by their packed form, whole and not by a hash: nothing is skipped.
 */
export interface Step<State> {
  /** What happened, for the trace. */
  readonly does: string;
  readonly next: State;
  /** What this very step broke; null when nothing. */
  readonly broken?: string | null;
}

export interface Model<State> {
  readonly initial: State;
  readonly steps: (state: State) => readonly Step<State>[];
  /** Two states with the same packed form must behave alike. */
  readonly pack: (state: State) => string;
  /** What is wrong with a state, or with the step from `before` to it; null when nothing. */
  readonly fault: (state: State, before: State) => string | null;
}

export interface Exploration {
  /** `truncated`: the bound was met, and the states beyond it were not seen. */
  readonly outcome: "holds" | "violated" | "truncated";
  readonly states: number;
  readonly transitions: number;
  /** Steps of the longest of the shortest ways to a state. */
  readonly depth: number;
  readonly fault: string | null;
  readonly trace: readonly string[];
}

export function explore<State>(model: Model<State>, statesMax: number): Exploration {
  const seen = new Set<string>([model.pack(model.initial)]);
  // By state number: the state it was reached from, and by which of that state's steps.
  const parents: number[] = [-1];
  const ordinals: number[] = [-1];
  let level: { readonly number: number; readonly state: State }[] = [{ number: 0, state: model.initial }];
  let transitions = 0;
  let depth = 0;
  const end = (outcome: Exploration["outcome"], fault: string | null, trace: readonly string[]) => ({
    outcome,
    states: seen.size,
    transitions,
    depth,
    fault,
    trace,
  });
  while (level.length > 0) {
    const below: typeof level = [];
    for (const { number, state } of level) {
      const steps = model.steps(state);
      for (let ordinal = 0; ordinal < steps.length; ordinal++) {
        const { does, next, broken } = steps[ordinal]!;
        transitions += 1;
        const fault = broken ?? model.fault(next, state);
        if (fault !== null)
          return end("violated", fault, [...traceTo(model, parents, ordinals, number), does]);
        const key = model.pack(next);
        if (seen.has(key)) continue;
        if (seen.size >= statesMax) return end("truncated", null, []);
        seen.add(key);
        parents.push(number);
        ordinals.push(ordinal);
        below.push({ number: parents.length - 1, state: next });
      }
    }
    level = below;
    if (below.length > 0) depth += 1;
  }
  return end("holds", null, []);
}

/** The way to a state, found by taking the same steps again from the start. */
function traceTo<State>(
  model: Model<State>,
  parents: readonly number[],
  ordinals: readonly number[],
  number: number,
): string[] {
  const way: number[] = [];
  for (let at = number; at > 0; at = parents[at]!) way.push(ordinals[at]!);
  let state = model.initial;
  return way.reverse().map((ordinal) => {
    const step = model.steps(state)[ordinal]!;
    state = step.next;
    return step.does;
  });
}
