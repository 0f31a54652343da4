import type {ChildProcess} from 'node:child_process';
import {readFileSync} from 'node:fs';

const CLOCK_TICKS = 100;

/** The seconds that a process has worked, as Linux tells it. */
export function timeOf({pid}: ChildProcess): number {
  const fields = procFile(pid, 'stat').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / CLOCK_TICKS;
}

/** The megabytes that a process holds, as Linux tells it. */
export function memoryOf({pid}: ChildProcess): number {
  const [, kilobytes = '0'] = /^VmRSS:\s+(\d+)/m.exec(procFile(pid, 'status')) ?? [];
  return Number(kilobytes) / 1024;
}

function procFile(pid: number | undefined, name: string): string {
  try {
    return readFileSync(`/proc/${pid ?? 0}/${name}`, 'utf8');
  } catch {
    return ''; // another system, or the process is gone
  }
}
