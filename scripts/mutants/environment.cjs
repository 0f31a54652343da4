const Environment = require('../../test/environment.cjs');
const vm = require('node:vm');

/*
 * The environment of tests of mutants. It puts other code in the place of files, notes which pieces of them each test
 * runs, leaves tests out that run no mutated piece, and ends at the first failure.
 */
const shared = globalThis.mutants;
const {compileFunction} = vm;

vm.compileFunction = (code, parameters, options = {}) =>
  compileFunction(shared.codes.get(options.filename) ?? code, parameters, options);

module.exports = class extends Environment {
  constructor(config, context) {
    super(config, context);
    if (shared.failure !== undefined) {
      throw new Error('A test has failed already.');
    }
    this.path = context.testPath;
    this.ended = false;
    this.start = process.cpuUsage().user;
    shared.onFile(this.path);
  }

  async handleTestEvent(event, state) {
    if (event.name === 'run_start') {
      // A test file runs the others' code too while it is loaded.
      this.take('');
      const names = shared.tests.get(this.path);
      if (names != null) {
        leaveOut(state.rootDescribeBlock, names);
      }
    } else if (event.name === 'test_start') {
      this.take('');
      if (shared.failure !== undefined) {
        event.test.mode = 'skip';
      }
    } else if (event.name === 'test_done') {
      this.take(nameOf(event.test));
      if (event.test.errors.length > 0) {
        shared.failure ??= {path: this.path, name: nameOf(event.test), message: String(event.test.errors[0])};
      }
    } else if (event.name === 'run_finish') {
      this.ended = true;
    }
  }

  async teardown() {
    this.take('');
    shared.onFileEnd?.(this.path, (process.cpuUsage().user - this.start) / 1e6);
    if (!this.ended) {
      shared.failure ??= {path: this.path, name: '', message: 'The file cannot be loaded.'};
    }
    await super.teardown();
  }

  /** Notes what has run since the last time. */
  take(name) {
    if (shared.onRun === undefined) {
      return;
    }
    for (const [file, ran] of Object.entries(this.global.ranUnits ?? {})) {
      if (ran.includes(1)) {
        shared.onRun(name, file, ran);
        ran.fill(0);
      }
    }
  }
};

function leaveOut(block, names) {
  for (const child of block.children) {
    if (child.type === 'describeBlock') {
      leaveOut(child, names);
    } else if (!names.has(nameOf(child))) {
      child.mode = 'skip';
    }
  }
}

function nameOf(test) {
  const names = [];
  for (let each = test; each !== undefined && each.name !== 'ROOT_DESCRIBE_BLOCK'; each = each.parent) {
    names.unshift(each.name);
  }
  return names.join(' ');
}
