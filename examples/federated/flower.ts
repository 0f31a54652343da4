import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, openSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {delimiter, join} from 'node:path';
import {setTimeout as pause} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {FLOWER_VERSION} from '../../src/federated/calls';

// The server: Flower in a virtual environment of its own, which npm cannot install.

const HERE = fileURLToPath(new URL('.', import.meta.url));
const OUTPUT = join(HERE, 'output');
const VENV = join(OUTPUT, 'venv');

/** Makes the environment where it is missing. @throws Error that says what to install, if there is no Python. */
export function installFlower(log: (line: string) => void): void {
  const python = ['python3', 'python'].find(name =>
    works(name, ['-c', 'import sys, venv; assert sys.version_info >= (3, 10)']),
  );
  if (python === undefined) {
    throw new Error('The server of this example is Flower, which needs Python 3.10 or newer with its module venv.');
  }
  const flwr = join(VENV, 'bin/flwr');
  if (!works(join(VENV, 'bin/python'), ['-c', `import flwr; assert flwr.__version__ == "${FLOWER_VERSION}"`])) {
    log(`Installing Flower ${FLOWER_VERSION} in ${VENV} …`);
    mkdirSync(OUTPUT, {recursive: true});
    execFileSync(python, ['-m', 'venv', VENV], {stdio: 'inherit'});
    execFileSync(join(VENV, 'bin/pip'), ['install', '--quiet', `flwr==${FLOWER_VERSION}`], {stdio: 'inherit'});
  }
  if (!existsSync(flwr)) {
    throw new Error(`${flwr} is missing after the installation of Flower.`);
  }
}

function works(program: string, args: string[]): boolean {
  try {
    execFileSync(program, args, {stdio: 'ignore'});
    return true;
  } catch {
    return false;
  }
}

/** Runs Python in that environment, in the folder of the server. */
export function runPython(...args: string[]): void {
  execFileSync(join(VENV, 'bin/python'), args, {cwd: join(HERE, 'server'), stdio: 'inherit'});
}

/** What a run of the server app is asked for. */
export interface RunConfig {
  strategy: 'mean' | 'exact';
  rounds: number;
  nodes: number;
  /** Paths of the adapter that it starts from, and of the one that it writes. */
  adapter: string;
  result: string;
  /** How the names of tensors end that do not travel. */
  frozen: string;
  /** Whether the nodes measure the common adapter after each round. */
  evaluate: boolean;
}

/** A SuperLink on this machine. */
export class SuperLink {
  readonly url: string;
  private readonly process: ChildProcess;
  private readonly environment: NodeJS.ProcessEnv;

  private constructor(
    port: number,
    /** Its own, so that two examples may run at the same time: settings and logs. */
    private readonly folder: string,
  ) {
    this.url = `http://127.0.0.1:${port}`;
    this.environment = {
      ...process.env,
      FLWR_HOME: folder,
      FLWR_TELEMETRY_ENABLED: '0',
      PATH: [join(VENV, 'bin'), process.env.PATH].join(delimiter),
    };
    const here = `[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:${port}"\ninsecure = true\n`;
    writeFileSync(join(folder, 'config.toml'), here);
    const log = openSync(join(folder, 'superlink.log'), 'w');
    this.process = spawn('flower-superlink', ['--insecure', '--host', '127.0.0.1', '--port', String(port)], {
      env: this.environment,
      stdio: ['ignore', log, log],
      detached: true, // it has children of its own, which end with its group
    });
  }

  /** Starts one, and waits until it answers. */
  static async start(): Promise<SuperLink> {
    const link = new SuperLink(await freePort(), mkdtempSync(join(tmpdir(), 'tfjs-lora-flower-')));
    for (let tries = 0; tries < 240; tries++) {
      if (link.process.exitCode !== null) {
        throw new Error(`The SuperLink ended. Its log is ${join(link.folder, 'superlink.log')}.`);
      }
      if (
        await fetch(link.url).then(
          () => true,
          () => false,
        )
      ) {
        return link;
      }
      await pause(250);
    }
    throw new Error('The SuperLink does not answer.');
  }

  /** Runs the server app to its end. */
  async run(config: RunConfig): Promise<void> {
    const said = Object.entries(config)
      .map(([name, value]) => `${name}=${typeof value === 'string' ? JSON.stringify(value) : String(value)}`)
      .join(' ');
    const log = openSync(join(this.folder, 'run.log'), 'w');
    const run = spawn('flwr', ['run', join(HERE, 'server'), '--stream', '--run-config', said], {
      env: this.environment,
      stdio: ['ignore', log, log],
    });
    const code = await new Promise<number | null>(resolve => {
      run.on('exit', resolve);
    });
    if (code !== 0 || !existsSync(config.result)) {
      throw new Error(`The run failed. Its log is ${join(this.folder, 'run.log')}.`);
    }
  }

  /** The number of its process and of the group of its children. */
  get pid(): number {
    if (this.process.pid === undefined) {
      throw new Error('flower-superlink cannot be started.');
    }
    return this.process.pid;
  }

  /** Ends it and its children. */
  stop(): void {
    try {
      process.kill(-this.pid, 'SIGTERM');
    } catch {
      // it has ended
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const {port} = server.address() as {port: number};
      server.close(() => resolve(port));
    });
  });
}
