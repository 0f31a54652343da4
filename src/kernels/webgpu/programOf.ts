import type {Program} from './program';

const programs = new Map<string, Program>();

/** The program of a name. Its code is written the first time it is asked for; later launches find it here. */
export function programOf(name: string, write: () => Omit<Program, 'name'>): Program {
  const program = programs.get(name) ?? {name, ...write()};
  programs.set(name, program);
  return program;
}
