// Makes two requests with an attested agent, and two with fetch, and says whether a connection comes with a listener that
// a caller's own time limit would call: for the test beside it.
//
//   node requests.mjs MODULE URL ROOT NITRO_TOML

import { readFileSync } from 'node:fs'
import https from 'node:https'
import { Agent, fetch } from 'undici'

const [module, url, root, nitroToml] = process.argv.slice(2)
const { attestedAgent, pcrsFromNitroToml } = await import(module)
const [rootPem, pcrs] = [readFileSync(root, 'utf8'), pcrsFromNitroToml(readFileSync(nitroToml, 'utf8'))]
const headers = { 'content-type': 'application/json', 'x-internal-api-key': 'the key of the API' }
const { agent, connect } = await attestedAgent({ url, pcrs, rootPem })

function post() {
  return new Promise((resolve, reject) => {
    const request = https.request(`${url}/internal/sign`, { agent, method: 'POST', headers }, (answer) => {
      answer.resume()
      answer.on('end', () => resolve(answer.statusCode))
    })
    request.on('error', reject)
    request.end('{}')
  })
}

const say = (name, made) => made.then((status) => console.log(name, status), (fault) => console.log(name, (fault.cause ?? fault).message))

await say('https', post())
await say('https', post())
agent.destroy()
const dispatcher = new Agent({ connect })
const fetched = () => fetch(`${url}/internal/sign`, { dispatcher, method: 'POST', headers, body: '{}' }).then(async (answer) => {
  await answer.text()
  return answer.status
})
await say('fetch', fetched())
await say('fetch', fetched())
await dispatcher.destroy()

const listeners = new Promise((resolve, reject) => {
  connect({}, (fault, socket) => {
    if (fault) return reject(fault)
    socket.destroy()
    resolve(socket.listenerCount('timeout'))
  })
})
await say('timeout listeners', listeners)
