import type * as tf from '@tensorflow/tfjs';
import {brief} from '../../platform/errors';
import {kerasEntry, type KerasEntry} from './json';
import {layerEntry, type Reading} from './layerConfigs';
import {readCall} from './nodes';

const CELLS = ['GRUCell', 'LSTMCell', 'SimpleRNNCell'];

/** An `RNN` with its cell, or its stack of cells. */
export function readRNN(given: KerasEntry, label: string, reading: Reading): tf.serialization.ConfigDict {
  const {cell, ...own} = given.config;
  const {config} = layerEntry({...given, config: own}, label, reading);
  const found = kerasEntry(cell);
  if (found?.className !== 'StackedRNNCells') {
    return {...config, cell: readCell(found, label, reading)};
  }
  const calls = [given.others.inbound_nodes].flat().map(node => readCall(node)?.args.flat() ?? []);
  if (own.return_state === true || calls.some(tensors => tensors.length > 1)) {
    reading.faults.push(`${label}: tfjs orders the states of a stack of cells differently.`);
  }
  const cells = [found.config.cells].flat().map(one => readCell(kerasEntry(one), label, reading));
  return {...config, cell: {className: 'StackedRNNCells', config: {name: found.config.name as string, cells}}};
}

/** A cell without dropout: tfjs would keep the masks of the first batch for all others. */
function readCell(entry: KerasEntry | undefined, label: string, reading: Reading): tf.serialization.ConfigDict {
  if (entry === undefined || !CELLS.includes(entry.className)) {
    reading.faults.push(`${label} cannot have a ${brief(entry?.className)} inside.`);
    return {};
  }
  const {dropout, recurrent_dropout: recurrentDropout} = entry.config;
  if ([dropout, recurrentDropout].some(rate => (rate ?? 0) !== 0)) {
    reading.warnings.push(`${label} has no dropout in its cells.`);
  }
  const {className, config} = layerEntry(entry, label, reading);
  return {className, config: {...config, dropout: 0, recurrentDropout: 0}};
}
