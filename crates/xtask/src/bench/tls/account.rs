//! What a program with all its processes has used.

use std::collections::HashMap;
use std::fs;

use anyhow::Context;

/// Microseconds of processor time since the start, of threads that have ended too. The kernel gives it in hundredths of a
/// second, which is why a sample lasts a second or more.
///
/// # Errors
/// When the program has ended.
pub fn cpu_us(id: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for id in family(id)? {
        let Ok(text) = fs::read_to_string(format!("/proc/{id}/stat")) else { continue };
        let fields: Vec<&str> = after_name(&text).collect();
        // utime and stime are fields 14 and 15 of proc_pid_stat(5); the third is the first after the name.
        for field in [11, 12] {
            ticks += fields.get(field).and_then(|field| field.parse::<u64>().ok()).context("an odd /proc/PID/stat")?;
        }
    }
    Ok(ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}

/// KiB of memory, what is shared counted in parts.
///
/// # Errors
/// When the program has ended.
pub fn pss_kib(id: u32) -> anyhow::Result<f64> {
    let mut sum = 0;
    for id in family(id)? {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).context("no /proc/PID/smaps_rollup")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("an odd smaps_rollup")?;
        sum += line.trim().trim_end_matches(" kB").trim().parse::<u64>()?;
    }
    Ok(sum as f64)
}

/// The process and its descendants.
fn family(id: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = after_name(&text).nth(1).and_then(|field| field.parse().ok()) {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut all = vec![id];
    let mut next = 0;
    while let Some(one) = all.get(next).copied() {
        all.extend(children.remove(&one).unwrap_or_default());
        next += 1;
    }
    anyhow::ensure!(fs::exists(format!("/proc/{id}"))?, "process {id} has ended");
    Ok(all)
}

/// The name may hold spaces and brackets.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}
