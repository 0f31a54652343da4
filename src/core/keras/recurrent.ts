import type * as tf from '@tensorflow/tfjs';
import {brief} from '../../platform/errors';
import {kerasEntry, type KerasEntry} from './json';
import {layerEntry, type Reading} from './layerConfigs';
import {readCall} from './nodes';

const CELLS = ['GRUCell', 'LSTMCell', 'SimpleRNNCell'];

/** An `RNN` with its cell, or its stack of cells. */
export function readRNN(entry: KerasEntry, label: string, reading: Reading): tf.serialization.ConfigDict {
  const {cell, ...wrapperConfig} = entry.config;
  const {config} = layerEntry({...entry, config: wrapperConfig}, label, reading);
  const cellEntry = kerasEntry(cell);
  if (cellEntry?.className !== 'StackedRNNCells') {
    return {...config, cell: readCell(cellEntry, label, reading)};
  }
  const calls = [entry.otherFields.inbound_nodes].flat().map(node => readCall(node)?.args.flat() ?? []);
  if (wrapperConfig.return_state === true || calls.some(tensors => tensors.length > 1)) {
    reading.faults.push(`${label}: tfjs orders the states of a stack of cells differently.`);
  }
  const cells = [cellEntry.config.cells].flat().map(one => readCell(kerasEntry(one), label, reading));
  return {...config, cell: {className: 'StackedRNNCells', config: {name: cellEntry.config.name as string, cells}}};
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
